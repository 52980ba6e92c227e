"""A tenant's place in a real object store: made once, brought back, missed without harm, erased with proof."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from elink_operator import naming
from elink_operator.objectstore import ObjectStore, connect

from tests.operator.reconcile.harness import World, condition, settings_for_tests, until
from tests.operator.reconcile.test_erase import plant_files, records_of, tenant_is_ready, traces
from tests.support.versitygw import REGION, Gateway, gateway


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Gateway]:
    with gateway(tmp_path / "store") as made:
        yield made


def in_buckets(store: Gateway) -> dict[str, Any]:
    return {
        "backup_store": "S3",
        "backup_s3_endpoint": store.url,
        "backup_s3_region": REGION,
        "backup_s3_accounts": "versitygw",
        "backup_s3_credentials_dir": str(store.credentials),
    }


@pytest.fixture
async def admin(store: Gateway) -> AsyncIterator[ObjectStore]:
    objects = connect(settings_for_tests(**in_buckets(store)), lambda: datetime.now(UTC))
    assert objects is not None
    yield objects
    await objects.close()


def login_of(world: World, server: str, name: str) -> str | None:
    path = f"/api/v1/namespaces/{naming.server_namespace(server)}/secrets/{naming.backup_store_secret(name)}"
    secret = world.get(path)
    return base64.b64decode(secret["data"]["store-credentials"]).decode() if secret else None


async def test_a_bucket_is_made_once_and_its_log_in_comes_back(
    world: World, store: Gateway, admin: ObjectStore
) -> None:
    server, name = world.unique("shared"), world.unique("t")
    world.server(server)
    world.tenant(name)
    bucket = naming.backup_bucket("elink-", name)
    async with world.operator(**in_buckets(store)) as op:
        await until(partial(tenant_is_ready, world, name))
        assert await admin.bucket_exists(bucket)
        assert await admin.account_exists(bucket)
        first = login_of(world, server, name)
        assert first is not None
        assert f"aws_access_key_id = {bucket}\n" in first
        namespace = naming.server_namespace(server)
        assert world.get(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/backups") is None
        # Steady: the store may be away, and nobody notices.
        store.stop()
        await op.look_at_everything()
        assert condition(world.et(name), "BackupHealthy")["reason"] == "NoBackupYet"
        # A lost Secret needs the store: the condition says so, and users are served.
        world.delete(f"/api/v1/namespaces/{namespace}/secrets/{naming.backup_store_secret(name)}")
        await until(lambda: condition(world.et(name), "BackupHealthy").get("reason") == "StoreAway")
        assert tenant_is_ready(world, name)
        store.start()
        await op.look_at_everything()
        assert login_of(world, server, name) == first
        await until(lambda: condition(world.et(name), "BackupHealthy").get("reason") == "NoBackupYet")


async def test_a_bucket_is_erased_and_the_store_is_asked_again(
    world: World, store: Gateway, admin: ObjectStore
) -> None:
    server, victim = world.unique("shared"), world.unique("t")
    neighbour = f"{victim}-x"
    world.server(server)
    for name in (victim, neighbour):
        world.tenant(name)
    async with world.operator(**in_buckets(store)) as op:
        for name in (victim, neighbour):
            await until(partial(tenant_is_ready, world, name))
            plant_files(world, server, name)
            for key in ("config", "data/00/pack", "snapshots/0123456789abcdef"):
                path = store.bucket(naming.backup_bucket("elink-", name)) / "repository" / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"sealed")
        uid = (world.et(victim) or {})["metadata"]["uid"]
        store.stop()
        world.change("ElinkTenant", victim, {"spec": {"state": "Cancelled"}})
        world.delete(f"/apis/elink-lc.com/v1/elinktenants/{victim}")
        await until(lambda: "does not answer" in condition(world.et(victim), "Ready").get("message", ""))
        assert condition(world.et(victim), "Ready")["reason"] == "AnswerUnknown"
        assert not records_of(world, uid), "a store that is away holds the finalizer"
        store.start()
        await op.look_at_everything()
        await until(lambda: world.et(victim) is None, what="erased")
        bucket = naming.backup_bucket("elink-", victim)
        assert not await admin.bucket_exists(bucket)
        assert not await admin.account_exists(bucket)
        left = await traces(world, victim, uid)
        assert [trace for trace in left if "/backups/" not in trace] == [], "no volume of backups is known here"
        [record] = records_of(world, uid)
        places = {place["store"]: place for place in record["spec"]["stores"]}
        assert places["BackupBucket"]["name"] == places["BackupAccount"]["name"] == bucket
        assert places["BackupBucket"]["removed"] == "3 objects, 18 bytes and 0 unfinished uploads removed"
        assert places["BackupGeneration"]["name"] == "01234567"
        assert "BackupStore" not in places
        assert await admin.bucket_exists(naming.backup_bucket("elink-", neighbour))
        assert len([p for p in store.bucket(naming.backup_bucket("elink-", neighbour)).rglob("*") if p.is_file()]) == 3
