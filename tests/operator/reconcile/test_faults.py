"""The fault list: nothing is lost, nothing done twice, everything converges without a human."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from elink_operator import naming
from elink_operator.desired import deployment

from tests.operator.database.conftest import migrate_template
from tests.operator.reconcile.harness import Operator, World, condition, is_ready, until
from tests.operator.reconcile.test_erase import erase_now


async def all_ready(world: World, names: list[str]) -> None:
    await until(lambda: all(is_ready(world.et(n)) for n in names), what=f"{len(names)} tenants Ready")


async def nothing_twice(world: World, names: list[str]) -> None:
    """One database, role and row per tenant, and no half-made ones."""
    databases = [
        r[0]
        for r in await world.sql(
            "postgres",
            "SELECT datname FROM pg_database WHERE shobj_description(oid, 'pg_database') LIKE 'elink tenant %'",
        )
    ]
    for name in names:
        assert databases.count(naming.tenant_database(name)) == 1
    assert [d for d in databases if d.startswith("making_")] == []
    rows = await world.sql("elink_registry", "SELECT name FROM tenant WHERE name = ANY($1)", names)
    assert len(rows) == len(names)


async def test_errors_and_refusals_of_the_api_server(world: World) -> None:
    server = world.unique("shared")
    names = [world.unique("t") for _ in range(8)]
    world.server(server)
    world.proxy.fail(500, method="PATCH", times=15)
    world.proxy.fail(429, method="PATCH", times=15, retry_after=1)
    world.proxy.drop(method="PATCH", times=10)
    world.proxy.lose(method="PATCH", times=10)
    world.proxy.lose(method="POST", times=3)
    async with world.operator() as op:
        for name in names:
            world.tenant(name)
        await all_ready(world, names)
        await op.settle()
        await nothing_twice(world, names)


async def test_a_kind_that_the_cluster_does_not_serve_is_told(world: World) -> None:
    """Without the Gateway API there is no place for a route: the tenant says so, instead of nothing at all."""
    server, tenant = world.unique("shared"), world.unique("t")
    world.server(server)
    missing = world.proxy.fail(404, method="PATCH", path="/httproutes/")
    async with world.operator():
        await until(lambda: is_ready(world.es(server)))
        world.tenant(tenant)
        found = await until(
            lambda: (c := condition(world.et(tenant), "Ready")).get("reason") == "ApplyRefused" and c, what="told"
        )
        assert found["status"] == "False"
        assert "HTTPRoute" in found["message"]
        missing.times = 0
        await until(lambda: is_ready(world.et(tenant)), what="made in the end")


async def test_cut_and_expired_watches(world: World) -> None:
    server = world.unique("shared")
    names = [world.unique("t") for _ in range(6)]
    world.server(server)
    async with world.operator() as op:
        await until(lambda: is_ready(world.es(server)))
        for number, name in enumerate(names):
            world.tenant(name)
            world.proxy.cut_watches()
            if number % 2:
                world.proxy.expire(times=3)
            await asyncio.sleep(0.3)
        await all_ready(world, names)
        # A deletion that nobody watched: the route is gone while the connection is down.
        async with world.proxy.outage():
            path = f"/apis/gateway.networking.k8s.io/v1/namespaces/{naming.server_namespace(server)}/httproutes"
            world.delete(f"{path}/{naming.tenant_route(names[0])}")
            await asyncio.sleep(0.5)
        await until(lambda: world.get(f"{path}/{naming.tenant_route(names[0])}"), what="route put back")
        await op.settle()


async def test_api_server_killed_and_restarted(world: World) -> None:
    server = world.unique("shared")
    names = [world.unique("t") for _ in range(6)]
    world.server(server)
    async with world.operator() as op:
        await until(lambda: is_ready(world.es(server)))
        for name in names:
            world.tenant(name)
        await asyncio.sleep(0.2)
        world.api.kill()
        await asyncio.sleep(2)
        # Not in a thread: the kernel kills the server when the thread that started it ends.
        world.api.start()
        await all_ready(world, names)
        await op.settle()
        await nothing_twice(world, names)


async def test_postgres_down_and_back(world: World, own_postgres: Any) -> None:
    world.postgres = own_postgres
    server = world.unique("shared")
    early, late = world.unique("early"), world.unique("late")
    world.server(server)
    world.tenant(early)
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(early)))
        own_postgres.stop("immediate")
        world.tenant(late)
        await until(lambda: condition(world.et(late), "DatabaseReady").get("reason") == "DatabaseUnavailable")
        # The server is looked at once a minute; here at once.
        op.ctx.memory.looked.clear()
        op.ctx.wake("server", server)
        await until(lambda: condition(world.es(server), "Ready").get("reason") == "DatabaseUnavailable")
        await until(lambda: condition(world.et(early), "Ready").get("status") == "False")
        own_postgres.start()
        await until(lambda: is_ready(world.es(server)), what="server recovers by itself")
        await all_ready(world, [early, late])


async def test_postgres_full(world: World, own_postgres: Any) -> None:
    """A real full disk: the template, and with it every copy, lies on a file system that is too small for one more."""
    world.postgres = own_postgres
    server, tenant = world.unique("shared"), world.unique("t")
    world.server(server)
    disk = own_postgres.folder / "disk"
    async with world.operator() as op:
        await until(lambda: is_ready(world.es(server)))
        with small_disk(disk, "8m"):
            await move_template(world, disk)
            world.tenant(tenant)
            found = await until(
                lambda: (c := condition(world.et(tenant), "DatabaseReady")).get("reason") == "DatabaseFull" and c
            )
            assert "enlarge the volume" in found["message"]
            mount("-o", "remount,size=100m", str(disk))
            await all_ready(world, [tenant])
            await nothing_twice(world, [tenant])
        await op.settle()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir()
    mount("-t", "tmpfs", "-o", f"size={size},mode=0700", "elink-test", str(folder))
    shutil.chown(folder, "postgres", "postgres")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


async def move_template(world: World, folder: Path) -> None:
    connection = await world.postgres.connect()
    await connection.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
    await connection.execute("GRANT CREATE ON TABLESPACE small TO PUBLIC")
    await connection.execute("ALTER DATABASE elink_template SET TABLESPACE small")
    await connection.close()


async def test_two_leaders_by_accident(world: World) -> None:
    server = world.unique("shared")
    names = [world.unique("t") for _ in range(8)]
    async with world.operator() as one, world.operator() as two:
        world.server(server)
        for name in names:
            world.tenant(name)
        await all_ready(world, names)
        await one.settle()
        await two.settle()
        await nothing_twice(world, names)
        world.proxy.seen.clear()
        await asyncio.sleep(2)
        quarrel = [s for s in world.proxy.writes() if "/status" not in s.path]
        assert quarrel == [], "two leaders must not fight over objects"
        for name in names[:3]:
            erase_now(world, name)
        await until(lambda: all(world.et(n) is None for n in names[:3]), what="erased by two leaders")
        await nothing_twice(world, names[3:])


async def test_a_failed_migration_is_told_and_tried_again(world: World) -> None:
    server = world.unique("shared")
    failures = 1

    async def flaky(*_: Any) -> tuple[int, str]:
        nonlocal failures
        if failures:
            return 1, "the template refuses"
        await migrate_template(world.postgres)
        return 0, "{}"

    world.standin._programs["migrate"] = flaky
    world.server(server)
    async with world.operator() as op:
        job = f"/apis/batch/v1/namespaces/{naming.server_namespace(server)}/jobs"
        await until(lambda: world.get(job) and world.items(job), what="migration Job")
        name = world.items(job)[0]["metadata"]["name"]
        # The Job controller would try for minutes: say at once that it gave up.
        world.patch(f"{job}/{name}", {"spec": {"activeDeadlineSeconds": 1}}, "application/merge-patch+json")
        found = await until(
            lambda: (c := condition(world.es(server), "Ready")).get("reason") == "MigrationFailed" and c
        )
        assert "tried again" in found["message"]
        failures = 0
        op.clock.offset = timedelta(minutes=3)
        op.ctx.wake("server", server)
        await until(lambda: is_ready(world.es(server)), what="second migration succeeds")


def changing(op: Operator, server: str) -> float | None:
    return op.engine.metrics.registry.get_sample_value("elink_server_changing", {"server": server})


async def test_an_upgrade_that_gets_nowhere_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that does not exist, then one whose pods never become ready: the old pods serve, and Ready says why."""
    monkeypatch.setattr(deployment, "_PROGRESS_SECONDS", 2)
    server = world.unique("shared")
    world.server(server, app={"replicas": 1})

    def ready() -> dict[str, Any]:
        return condition(world.es(server), "Ready")

    async with world.operator() as op:
        await until(lambda: is_ready(world.es(server)))
        done = world.standin._programs["migrate"]
        never = asyncio.Event()

        async def pulling(*_: Any) -> tuple[int, str]:
            await never.wait()
            return 1, ""

        world.standin._programs["migrate"] = pulling
        world.change("ElinkServer", server, {"spec": {"version": "0.1.9-typo"}})
        await until(lambda: ready().get("message", "").startswith("the databases are being migrated"))
        op.clock.offset = timedelta(minutes=3)
        op.ctx.wake("server", server)
        found = await until(lambda: "waits for a pod that runs" in ready()["message"] and ready())
        assert (found["status"], found["reason"]) == ("True", "Changing")

        world.standin._programs["migrate"] = done
        world.standin.ready = False
        world.change("ElinkServer", server, {"spec": {"version": "0.2.0"}})
        found = await until(lambda: "new ones do not become ready" in ready()["message"] and ready())
        unwanted = f"jobs/{naming.migrate_job('0.1.9-typo', op.ctx.settings.template_revision)}"
        assert world.get(f"/apis/batch/v1/namespaces/{naming.server_namespace(server)}/{unwanted}") is None
        assert (found["status"], found["reason"]) == ("True", "Changing")
        await until(lambda: condition(world.es(server), "AppReady")["reason"] == "UpdateStuck")
        assert condition(world.es(server), "WorkerReady")["status"] == "True", "deliveries go on"
        assert not is_ready(world.es(server)), "the generation has not taken effect"
        await until(lambda: changing(op, server) == 1)

        world.standin.ready = True
        await until(lambda: is_ready(world.es(server)))
        assert ready()["reason"] == "AsDeclared"
        await until(lambda: changing(op, server) == 0)


async def test_a_missing_or_wrong_secret_is_told(world: World) -> None:
    server = world.unique("shared")
    database = {"mode": "External", "secretRef": {"name": f"{server}-database"}}
    world.apply("ElinkServer", server, {"tenancy": "Shared", "database": database})
    async with world.operator() as op:
        await until(lambda: condition(world.es(server), "Ready").get("reason") == "SecretMissing")
        world.secret(f"{server}-database", password="wrong")
        op.ctx.wake("server", server)
        found = await until(
            lambda: (c := condition(world.es(server), "Ready")).get("reason") == "DatabaseForbidden" and c
        )
        assert "check the Secret" in found["message"]
        world.secret(f"{server}-database")
        op.ctx.memory.external.clear()
        op.ctx.wake("server", server)
        await until(lambda: is_ready(world.es(server)))
