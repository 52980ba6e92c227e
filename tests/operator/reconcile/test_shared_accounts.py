"""One log-in for all (`accounts: shared`): a whole path in an object store whose accounts nobody here can make."""

from __future__ import annotations

import pytest
from elink_operator import naming
from elink_operator.objectstore import ObjectStore

from tests.operator.reconcile.harness import World, condition, until
from tests.operator.reconcile.restoring import OLD, PATIENCE, contents, served
from tests.operator.reconcile.test_backup_bucket import admin, in_buckets, login_of, store
from tests.operator.reconcile.test_drill_programs import back_up, drilled, healthy, status
from tests.operator.reconcile.test_erase import erase_now, records_of, tenant_is_ready
from tests.support.standin import backup_or_restore
from tests.support.versitygw import ACCESS, SECRET, Gateway

__all__ = ["admin", "store"]

pytestmark = pytest.mark.timeout(900)


async def test_backed_up_drilled_and_erased_with_the_administrators_log_in(
    world: World, store: Gateway, admin: ObjectStore
) -> None:
    world.standin.program("backup", backup_or_restore)
    async with world.operator(**{**in_buckets(store), "backup_s3_accounts": "shared"}, drill_days=30) as op:
        server, tenant = await served(world)
        neighbour = f"{tenant}-x"
        world.tenant(neighbour, server=server)
        await until(lambda: tenant_is_ready(world, neighbour), timeout=PATIENCE)
        bucket, beside = (naming.backup_bucket("elink-", name) for name in (tenant, neighbour))
        login = login_of(world, server, tenant)
        assert login is not None
        assert f"aws_access_key_id = {ACCESS}\n" in login
        assert SECRET in login
        assert not await admin.account_exists(bucket)

        await back_up(world, server, tenant, "first")
        await healthy(world, tenant, "Recent")
        stored = status(world, tenant, "backup")
        assert stored["generations"] == 1
        assert stored["verifiedAt"]
        await drilled(world, tenant, "proof", "Succeeded")
        proof = status(world, tenant, "restoreDrill")
        assert (proof["result"], proof["rows"] >= 5, proof["files"]) == ("Succeeded", True, 1)
        assert await contents(world, server, tenant) == OLD

        # What shared log-ins cannot keep apart the keys do: nobody's file is readable without its own.
        sealed = [path for path in store.bucket(bucket).rglob("*") if path.is_file()]
        assert len(sealed) >= 5
        assert not [path for path in sealed if "前".encode() in path.read_bytes()]

        uid = (world.et(tenant) or {})["metadata"]["uid"]
        store.stop()
        erase_now(world, tenant)
        await until(lambda: condition(world.et(tenant), "Ready").get("reason") == "AnswerUnknown", timeout=PATIENCE)
        assert not records_of(world, uid), "a store that is away holds the erasure"
        store.start()
        op.ctx.wake("tenant", tenant)
        await until(lambda: world.et(tenant) is None, timeout=PATIENCE, what="erased")
        assert not await admin.bucket_exists(bucket)
        assert await admin.bucket_exists(beside)
        [record] = records_of(world, uid)
        places = {place["store"]: place for place in record["spec"]["stores"]}
        assert places["BackupBucket"]["name"] == bucket
        assert "BackupAccount" not in places, "the one account there is stays"
        assert places["BackupGeneration"]["removed"] == "removed from the store"
        assert login_of(world, server, tenant) is None
        assert tenant_is_ready(world, neighbour)
