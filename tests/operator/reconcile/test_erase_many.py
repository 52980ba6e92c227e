"""Twenty tenants erased at once beside twenty that stay to the byte; without its record no tenant goes."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest
from elink_operator import naming
from elink_operator.api.erasure import record_name, verify

from tests.operator.reconcile.harness import World, condition, is_ready, until
from tests.operator.reconcile.test_erase import erase_now, fill, plant_files, records_of, traces
from tests.operator.reconcile.test_forgetting import forget_jobs
from tests.operator.reconcile.test_server_backup import contents, key_of, run_now, stored
from tests.support.postgres import Postgres, find_program

RECORDS = "/apis/elink-lc.com/v1/elinkerasures"


def dumped(postgres: Postgres, tenant: str) -> str:
    """Everything in a tenant's database, owners and rights included."""
    command = [
        find_program("pg_dump"), "--host", postgres.host, "--port", str(postgres.port), "--username", postgres.admin,
        "--dbname", naming.tenant_database(tenant), "--restrict-key", "fixed",
    ]  # fmt: skip
    if b"--restrict-key" not in subprocess.run([command[0], "--help"], capture_output=True, check=True).stdout:
        command = command[:-2]
    environment = {"PGPASSWORD": postgres.admin_password, "PATH": "/usr/bin"}
    return subprocess.run(command, env=environment, capture_output=True, check=True).stdout.decode()


async def image_of(world: World, tenant: str, uid: str) -> dict[str, Any]:
    """All of a tenant, for a comparison to the byte."""
    found: dict[str, Any] = {"dump": await asyncio.to_thread(dumped, world.postgres, tenant)}
    rows = await world.sql("elink_registry", "SELECT to_jsonb(t)::text FROM tenant t WHERE name = $1", tenant)
    found["row"] = rows[0][0]
    role = "SELECT oid::text || rolpassword FROM pg_authid WHERE rolname = $1"
    found["role"] = (await world.sql("postgres", role, naming.tenant_role(tenant)))[0][0]
    for pattern in (f"*/backups/{tenant}", f"*/files/tenants/{tenant}"):
        for folder in world.standin.volumes.glob(pattern):
            for file in sorted(p for p in folder.rglob("*") if p.is_file()):
                found[str(file)] = hashlib.sha256(file.read_bytes()).hexdigest()
    for journal in sorted(world.standin.volumes.glob("*/files/journals/*")):
        found[f"lines {journal.name}"] = [line for line in journal.read_text().splitlines() if f'"{tenant}"' in line]
    secrets = world.items(f"/api/v1/secrets?labelSelector=elink-lc.com%2Ftenant%3D{tenant}")
    found["secrets"] = sorted((s["metadata"]["uid"], str(s["data"])) for s in secrets)
    for path in ("/apis/gateway.networking.k8s.io/v1/httproutes", "/apis/batch/v1/cronjobs"):
        objects = world.items(f"{path}?labelSelector=elink-lc.com%2Ftenant%3D{tenant}")
        found[path] = [(o["metadata"]["uid"], o["metadata"]["generation"], o["spec"]) for o in objects]
    found["uid"] = uid
    return found


@pytest.mark.timeout(2100)
async def test_twenty_go_and_twenty_stay_to_the_byte(world: World, tmp_path: Path) -> None:
    server, stem = world.unique("shared"), world.unique("m")
    # Every one that goes is a prefix of one that stays, and the other way round.
    going = [f"{stem}-{number}" for number in range(1, 11)] + [f"{stem}-{number}-x" for number in range(11, 21)]
    staying = [f"{stem}-{number}-y" for number in range(1, 11)] + [f"{stem}-{number}" for number in range(11, 21)]
    world.server(server, maxTenants=60)
    for name in (*going, *staying):
        world.tenant(name)
    async with world.operator() as op:
        await until(
            lambda: all(is_ready(world.et(n)) for n in (*going, *staying)), timeout=240, what="40 tenants Ready"
        )
        uids = {name: (world.et(name) or {})["metadata"]["uid"] for name in (*going, *staying)}
        for name in (*going, *staying):
            await fill(world, name, 7)
            plant_files(world, server, name)
        run_now(world, server, "now-1")
        await until(lambda: stored(world, server).get("generations") == 1, timeout=240, what="the server is backed up")
        await op.settle()
        before = {name: await image_of(world, name, uids[name]) for name in staying}
        assert all(len(image) >= 8 for image in before.values()), "there must be something to compare"
        for name in going:
            erase_now(world, name)
        await until(lambda: not any(world.et(n) for n in going), timeout=1500, what="20 tenants erased")
        await op.settle()
        for name in staying:
            assert await image_of(world, name, uids[name]) == before[name], name
            assert is_ready(world.et(name))
        for name in going:
            assert await traces(world, name, uids[name]) == []
            assert len(records_of(world, uids[name])) == 1
        copies = world.standin.folder(naming.server_namespace(server), "backups") / ".server" / "repository"
        copied = contents(copies, key_of(world, server), tmp_path)
        assert [name for name in going if f'"{name}"' in copied] == []
        assert [name for name in staying if f'"{name}"' not in copied] == []
        assert len(forget_jobs(world, server)) <= 5, "the server's own backups are written again for all who wait"
        records = world.items(RECORDS)
        assert verify(records).intact
        for record in [r for r in records if r["spec"]["tenant"] in going]:
            [place] = [p for p in record["spec"]["stores"] if p["store"] == "ServerBackups"]
            # Its row in the registry, and its lines in two journals.
            assert place["removed"].startswith("3 rows and journal lines of the tenant removed"), place
        assert sorted(r["metadata"]["name"] for r in records) == [record_name(n + 1) for n in range(len(records))]


async def test_without_its_record_a_tenant_does_not_go(world: World) -> None:
    server, tenant = world.unique("shared"), world.unique("t")
    world.server(server)
    world.tenant(tenant)
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(tenant)))
        uid = (world.et(tenant) or {})["metadata"]["uid"]
        fault = world.proxy.fail(403, method="POST", path="/elinkerasures")
        erase_now(world, tenant)
        await until(lambda: condition(world.et(tenant), "Ready").get("reason") == "RecordNotWritten")
        assert await traces(world, tenant, uid) == []
        assert naming.FINALIZER in (world.et(tenant) or {})["metadata"]["finalizers"]
        assert records_of(world, uid) == []
        world.proxy.heal()
        assert fault is not None
        op.ctx.wake("tenant", tenant)
        await until(lambda: world.et(tenant) is None, what="gone with its record")
        assert len(records_of(world, uid)) == 1


async def test_a_record_whose_answer_was_lost_is_not_written_twice(world: World) -> None:
    server, tenant = world.unique("shared"), world.unique("t")
    world.server(server)
    world.tenant(tenant)
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(tenant)))
        uid = (world.et(tenant) or {})["metadata"]["uid"]
        world.proxy.lose(method="POST", path="/elinkerasures", times=1)
        erase_now(world, tenant)
        await until(lambda: records_of(world, uid))
        op.ctx.wake("tenant", tenant)
        await until(lambda: world.et(tenant) is None)
        assert len(records_of(world, uid)) == 1
        assert verify(world.items(RECORDS)).intact


async def test_nobody_can_change_a_record(world: World) -> None:
    server, tenant = world.unique("shared"), world.unique("t")
    world.server(server)
    world.tenant(tenant)
    async with world.operator():
        await until(lambda: is_ready(world.et(tenant)))
        uid = (world.et(tenant) or {})["metadata"]["uid"]
        erase_now(world, tenant)
        await until(lambda: world.et(tenant) is None)
    [record] = records_of(world, uid)
    path = f"{RECORDS}/{record['metadata']['name']}"
    for patch in ({"spec": {"tenant": "other"}}, {"spec": {"stores": []}}, {"spec": {"neighbours": None}}):
        code, answer = world.patch(path, patch, "application/merge-patch+json")
        assert code == 422
        assert b"cannot be changed" in answer or b"Required" in answer
    assert records_of(world, uid) == [record]


async def test_a_journal_that_a_worker_holds_holds_the_tenant(world: World) -> None:
    server, tenant = world.unique("shared"), world.unique("t")
    world.server(server)
    world.tenant(tenant)
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(tenant)))
        uid = (world.et(tenant) or {})["metadata"]["uid"]
        plant_files(world, server, tenant)
        journal = next(world.standin.volumes.glob("*/files/journals/0-*"))
        with journal.open("rb") as worker:
            fcntl.flock(worker, fcntl.LOCK_EX)
            erase_now(world, tenant)
            await until(lambda: condition(world.et(tenant), "Ready").get("reason") == "Erasing")
            await op.settle()
            assert world.et(tenant) is not None
            assert f'"{tenant}"' in journal.read_text()
        await until(lambda: world.et(tenant) is None, what="erased once the worker lets go")
        assert await traces(world, tenant, uid) == []
