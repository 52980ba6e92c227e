"""A copy under another name on another server: real programs, and a real object store that both servers reach."""

from __future__ import annotations

from functools import partial

import pytest
from elink_operator import naming
from elink_operator.objectstore import ObjectStore

from tests.operator.reconcile.harness import World, is_ready, until
from tests.operator.reconcile.restoring import OLD, PATIENCE, ended, phase, served
from tests.operator.reconcile.test_backup_bucket import admin, in_buckets, login_of, store
from tests.operator.reconcile.test_drill_programs import back_up, healthy, status
from tests.operator.reconcile.test_erase import erase_now
from tests.operator.reconcile.test_move import contents
from tests.support.standin import Obj, backup_or_restore
from tests.support.versitygw import Gateway

__all__ = ["admin", "store"]

pytestmark = pytest.mark.timeout(900)

DISARM = "CREATE FUNCTION elink_disarm(OUT deliveries int, OUT mails int) LANGUAGE sql AS 'SELECT 2, 1'"
"""Of the app's migrations; the database of this harness has a table only."""


def secrets_of(world: World, server: str, restore: str) -> list[Obj]:
    """What a restore has borrowed in the namespace of a server."""
    path = f"/api/v1/namespaces/{naming.server_namespace(server)}/secrets"
    return world.items(f"{path}?labelSelector=elink-lc.com%2Frestore%3D{restore}")


async def test_a_copy_on_another_server_comes_out_of_the_sources_bucket(
    world: World, store: Gateway, admin: ObjectStore
) -> None:
    world.standin.program("backup", backup_or_restore)
    other = world.unique("other")
    async with world.operator(**in_buckets(store)):
        server, tenant = await served(world)
        world.server(other)
        await until(lambda: is_ready(world.es(other)), timeout=PATIENCE, what="the other server")
        await world.sql(naming.tenant_database(tenant), DISARM)
        await back_up(world, server, tenant, "first")
        await healthy(world, tenant, "Recent")

        copy = f"{tenant}-copy"
        away = world.more[1]
        world.restore("copied", tenant, "AsNew", asNew={"tenant": copy, "server": other})
        said = await ended(world, "copied")
        assert (said["held"], said["files"], said["rows"] >= 5, said.get("different", [])) == (3, 1, True, [])
        await until(lambda: is_ready(world.et(copy)), timeout=PATIENCE, what="the copy is served")
        assert (world.et(copy) or {})["status"]["server"] == other
        assert await contents(world, away, other, copy) == OLD
        assert await contents(world, world.postgres, server, tenant) == OLD
        await until(lambda: not secrets_of(world, other, "copied"), timeout=PATIENCE, what="what was borrowed is gone")

        # From now on they have nothing in common: the copy has a bucket, a key and an account of its own.
        mine, theirs = (naming.backup_bucket("elink-", name) for name in (tenant, copy))
        login = login_of(world, other, copy)
        assert login is not None
        assert f"aws_access_key_id = {theirs}\n" in login
        assert not list(store.bucket(theirs).rglob("config"))
        await back_up(world, other, copy, "own")
        await healthy(world, copy, "Recent")
        assert status(world, copy, "backup")["generations"] == 1

        erase_now(world, tenant)
        await until(lambda: world.et(tenant) is None, timeout=PATIENCE, what="the source is erased")
        assert not await admin.bucket_exists(mine)
        assert await admin.bucket_exists(theirs)
        assert await contents(world, away, other, copy) == OLD
        world.restore("proof", copy, "Drill")
        await ended(world, "proof")


async def test_a_bucket_that_is_gone_fails_the_copy_and_leaves_the_source(world: World, store: Gateway) -> None:
    """What was borrowed goes back, also when nothing can be read with it."""
    world.standin.program("backup", backup_or_restore)
    other = world.unique("other")
    async with world.operator(**in_buckets(store)):
        server, tenant = await served(world)
        world.server(other)
        await until(lambda: is_ready(world.es(other)), timeout=PATIENCE, what="the other server")
        await back_up(world, server, tenant, "first")
        bucket = store.bucket(naming.backup_bucket("elink-", tenant))
        bucket.rename(bucket.with_name("aside"))
        world.restore("copied", tenant, "AsNew", asNew={"tenant": f"{tenant}-copy", "server": other})
        await until(partial(phase, world, "copied"), timeout=PATIENCE)
        said = await ended(world, "copied", "RolledBack")
        assert said["failure"] == "StoreAway"
        await until(lambda: not secrets_of(world, other, "copied"), timeout=PATIENCE, what="what was borrowed is gone")
        assert is_ready(world.et(tenant))
        assert await contents(world, world.postgres, server, tenant) == OLD
