"""Restores: what is switched in, what comes back when something fails, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import timedelta
from functools import partial

import pytest
from elink_operator import naming
from elink_operator.database import DatabaseLost

from tests.operator.reconcile.harness import SYSTEM, Operator, World, condition, is_ready, until
from tests.operator.reconcile.restoring import (
    GENERATION,
    NEW,
    OLD,
    PATIENCE,
    Script,
    contents,
    ended,
    left_over,
    phase,
    registry_state,
    served,
    step,
    suspended,
)
from tests.operator.reconcile.test_life import reasons

pytestmark = pytest.mark.timeout(900)


async def back_in_service(world: World, server: str, tenant: str) -> None:
    """The end of a restore is known a moment before the tenant's own run sees it; Ready may be that of before."""

    async def served_again() -> bool:
        return is_ready(world.et(tenant)) and await registry_state(world, tenant) == "Active"

    await until(served_again, timeout=PATIENCE, what="in service again")
    await until(lambda: not suspended(world, server, tenant), timeout=PATIENCE, what="backups go on")


async def test_a_drill_proves_the_generation_and_leaves_nothing(world: World, script: Script) -> None:
    async with world.operator():
        server, tenant = await served(world)
        world.restore("drill", tenant, "Drill")
        status = await ended(world, "drill")
        assert (status["generation"], status["rows"], status["files"]) == (GENERATION, script.rows, 1)
        assert status["dataAgeSeconds"] > 86400
        assert "held" not in status
        assert condition(world.er("drill"), "Complete")["status"] == "True"
        drill = (world.et(tenant) or {})["status"]["restoreDrill"]
        assert (drill["result"], drill["generation"], drill["rows"]) == ("Succeeded", GENERATION, script.rows)
        assert drill["provenAt"] == drill["at"] == status["finishedAt"]
        assert script.ran == ["read-1/restore"]
        assert await left_over(world, server) == []
        assert await contents(world, server, tenant) == OLD
        assert is_ready(world.et(tenant))
        await until(lambda: not (world.er("drill") or {})["metadata"].get("finalizers"))
        # A damaged one is found by the drill, not by the customer; the proof before it is remembered.
        report = {"generation": GENERATION, "made": "2026-01-31T17:00:00Z", "rows": 1, "tables": 1, "files": 1}
        script.broken["restore"] = (1, json.dumps({**report, "different": ["table address", "file 秘密.pdf"]}))
        world.restore("damaged", tenant, "Drill")
        failed = await ended(world, "damaged", "Failed")
        assert (failed["failure"], failed["different"]) == ("Different", ["table address", "1 file"])
        assert "秘密" not in str(world.er("damaged"))
        found = (world.et(tenant) or {})["status"]["restoreDrill"]
        assert (found["result"], found["provenAt"]) == ("Failed", drill["provenAt"])
        assert await left_over(world, server) == []


async def test_in_place_takes_a_backup_switches_and_keeps_the_old_data_for_a_day(world: World, script: Script) -> None:
    async with world.operator() as op:
        server, tenant = await served(world)
        seen: set[str] = set()
        link = first_link(world, tenant)
        world.restore("back", tenant, "InPlace")
        await until(partial(watch, world, tenant, "back", seen), timeout=PATIENCE)
        status = await ended(world, "back")
        assert status["safetyBackup"] == "20260201T000001Z"
        assert (status["generation"], status["held"]) == (GENERATION, 3)
        await back_in_service(world, server, tenant)
        assert await contents(world, server, tenant) == NEW
        order = "safety/backup read-1/prepare read-1/restore read-1/migrate read-1/disarm switch/switch"
        assert script.ran == order.split()
        assert "Maintenance" in seen, "nobody worked with the tenant while its data was exchanged"
        assert first_link(world, tenant) not in {"", link}, "the restored data does not know that it was used"
        assert step(world, "back") == "KeepOld"
        digest = naming.digest((world.er("back") or {})["metadata"]["uid"])
        assert set(await left_over(world, server)) == {naming.kept_database(tenant, digest), f".kept-{tenant}"}
        op.clock.offset = timedelta(hours=23)
        await op.look_at_everything()
        assert len(await left_over(world, server)) == 2
        op.clock.offset = timedelta(hours=25)
        op.ctx.wake("restore", "back")
        await until(lambda: step(world, "back") == "Done", timeout=PATIENCE)
        assert await left_over(world, server) == []
        assert phase(world, "back") == "Succeeded"
        assert condition(world.er("back"), "Complete")["status"] == "True"
        assert await contents(world, server, tenant) == NEW


def first_link(world: World, tenant: str) -> str:
    found = world.get(f"/api/v1/namespaces/{SYSTEM}/secrets/{naming.master_secret(tenant)}") or {}
    return str((found.get("data") or {}).get("setup-url", ""))


async def watch(world: World, tenant: str, name: str, seen: set[str]) -> bool:
    seen.add(await registry_state(world, tenant))
    return phase(world, name) in {"Succeeded", "Failed", "RolledBack"}


@pytest.mark.parametrize(
    ("container", "said", "failure"),
    [
        ("restore", (1, '{"result": "error", "reason": "WrongKey"}'), "WrongKey"),
        ("migrate", (3, ""), "SchemaTooNew"),
        ("switch", (1, ""), "FilesNotSwitched"),
    ],
)
async def test_whatever_fails_before_the_switch_brings_the_old_data_back(
    world: World, script: Script, container: str, said: tuple[int, str], failure: str
) -> None:
    script.broken[container] = said
    async with world.operator():
        server, tenant = await served(world)
        world.restore("back", tenant, "InPlace")
        status = await ended(world, "back", "RolledBack")
        assert status["failure"] == failure
        await back_in_service(world, server, tenant)
        assert await contents(world, server, tenant) == OLD
        assert await left_over(world, server) == []
        await until(lambda: "RestoreRolledBack" in reasons(world, tenant), what="told")


async def test_a_backup_that_cannot_be_made_first_stops_a_restore(world: World, script: Script) -> None:
    script.broken["backup"] = (1, '{"reason": "StoreFull"}')
    async with world.operator():
        server, tenant = await served(world)
        world.restore("back", tenant, "InPlace")
        status = await ended(world, "back", "Failed")
        assert status["failure"] == "StoreFull"
        assert "elink-lc.com/skip-safety-backup" in status["message"]
        assert not any(job.startswith("read") for job in script.ran)
        assert await contents(world, server, tenant) == OLD
        assert await registry_state(world, tenant) == "Active"


async def test_a_lost_database_comes_back_without_a_backup_of_it(world: World, script: Script) -> None:
    async with world.operator() as op:
        server, tenant = await served(world)
        name = naming.tenant_database(tenant)
        connection = await world.postgres.connect()
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await connection.close()
        op.ctx.memory.looked.clear()
        op.ctx.wake("server", server)
        await until(
            lambda: condition(world.et(tenant), "DatabaseReady").get("reason") == "DatabaseLost", timeout=PATIENCE
        )
        world.restore("back", tenant, "InPlace")
        status = await ended(world, "back")
        assert status["safetyBackup"] == "none: the database is lost"
        await back_in_service(world, server, tenant)
        assert await contents(world, server, tenant) == NEW
        assert "databaseLostAt" not in (world.et(tenant) or {})["status"]


async def test_a_switch_that_cannot_be_made_of_a_lost_database_leaves_it_as_it_was(
    world: World, script: Script
) -> None:
    async def gone(*_: object) -> None:
        raise DatabaseLost("the scratch database is gone")

    async with world.operator() as op:
        server, tenant = await served(world)
        op.ctx.databases.adopt_scratch = gone  # type: ignore[method-assign]
        connection = await world.postgres.connect()
        await connection.execute(f'DROP DATABASE "{naming.tenant_database(tenant)}" WITH (FORCE)')
        await connection.close()
        world.restore("back", tenant, "InPlace")
        status = await ended(world, "back", "RolledBack")
        assert (status["failure"], status["safetyBackup"]) == ("DatabaseLost", "none: the database is lost")
        await until(
            lambda: condition(world.et(tenant), "DatabaseReady").get("reason") == "DatabaseLost", timeout=PATIENCE
        )
        assert await left_over(world, server) == []


async def deleted(world: World, op: Operator, name: str) -> None:
    world.delete(f"/apis/elink-lc.com/v1/elinkrestores/{name}")
    await until(lambda: world.er(name) is None, timeout=PATIENCE, what=f"{name} is gone")


async def test_deleting_a_running_restore_undoes_it_and_a_second_one_waits_its_turn(
    world: World, script: Script
) -> None:
    async with world.operator() as op:
        server, tenant = await served(world)
        script.go.clear()
        world.restore("first", tenant, "InPlace")
        world.restore("second", tenant, "Drill")
        await until(lambda: step(world, "first") == "SafetyBackup", timeout=PATIENCE)
        waits = await until(
            lambda: condition(world.er("second"), "Complete").get("reason") == "WaitingForRestore", timeout=PATIENCE
        )
        assert waits
        assert phase(world, "second") == "Pending"
        script.broken["restore"] = (1, '{"result": "error", "reason": "StoreAway"}')
        script.go.set()
        await until(lambda: "read-1/restore" in script.ran, timeout=PATIENCE)
        await deleted(world, op, "first")
        script.broken.clear()  # The second one's turn has come.
        await back_in_service(world, server, tenant)
        assert await contents(world, server, tenant) == OLD
        await ended(world, "second")
        assert await left_over(world, server) == []


async def test_of_two_that_are_made_at_once_one_waits(world: World, script: Script) -> None:
    """The one that is younger by its name has begun, and nobody can see it yet: both would fill the same folder."""
    async with world.operator() as op:
        _, tenant = await served(world)
        while not await made_in_one_second(world, tenant):
            world.proxy.heal()
            for name in ("b-first", "a-second"):
                await deleted(world, op, name)
            script.ran.clear()
        await until(
            lambda: condition(world.er("a-second"), "Complete").get("reason") == "WaitingForRestore", timeout=PATIENCE
        )
        world.proxy.heal()
        for name in ("b-first", "a-second"):
            await ended(world, name)
        assert [one for one in script.ran if one.endswith("/backup")] == ["safety/backup"] * 2
        assert script.ran.index("switch/switch") < [i for i, one in enumerate(script.ran) if "safety" in one][1]


async def made_in_one_second(world: World, tenant: str) -> bool:
    """Whether the two are of one age: times of the API server have seconds, and a busy machine may take longer."""
    beginning = world.proxy.hold(method="PATCH", path="/elinkrestores/b-first")
    await asyncio.sleep(1 - time.time() % 1)
    world.restore("b-first", tenant, "InPlace")
    await until(lambda: beginning.hits, timeout=PATIENCE, what="the first one begins")
    world.restore("a-second", tenant, "InPlace")
    born = {(world.er(name) or {})["metadata"]["creationTimestamp"] for name in ("a-second", "b-first")}
    return len(born) == 1


async def test_what_is_not_allowed_is_said_and_touches_nothing(world: World, script: Script) -> None:
    async with world.operator():
        _, tenant = await served(world)
        world.restore("unconfirmed", tenant, "InPlace", confirmed=False)
        world.restore("unknown", "nobody", "Drill")
        world.restore("taken", tenant, "AsNew", asNew={"tenant": tenant})
        world.restore("far", tenant, "AsNew", asNew={"tenant": f"{tenant}-far", "server": "elsewhere"})
        for name, word in (
            ("unconfirmed", "confirm it with the annotation"),
            ("unknown", "does not exist"),
            ("taken", "exists: set spec.asNew.tenant"),
            ("far", "Server elsewhere does not exist"),
        ):
            assert word in (await ended(world, name, "Failed"))["message"]
        assert script.ran == []
        assert is_ready(world.et(tenant))


async def test_as_new_makes_a_copy_beside_the_source(world: World, script: Script) -> None:
    async with world.operator():
        server, tenant = await served(world, contacts={"emails": ["renraku@example.jp"]})
        copy = f"{tenant}-copy"
        world.restore("copied", tenant, "AsNew", asNew={"tenant": copy})
        status = await ended(world, "copied")
        assert status["held"] == 3
        await back_in_service(world, server, copy)
        made = world.et(copy) or {}
        assert made["spec"]["displayName"] == "株式会社あおぞら（複製）"
        assert made["spec"]["contacts"]["emails"] == ["renraku@example.jp"]
        assert made["metadata"]["annotations"]["elink-lc.com/restored-from"] == tenant
        assert made["status"]["server"] == server
        assert await contents(world, server, copy) == NEW
        assert await contents(world, server, tenant) == OLD
        await until(lambda: step(world, "copied") == "Done", timeout=PATIENCE)
        assert await left_over(world, server) == []


async def test_erasing_a_tenant_ends_its_restores_and_what_they_left(world: World, script: Script) -> None:
    async with world.operator():
        server, tenant = await served(world)
        world.restore("back", tenant, "InPlace")
        await ended(world, "back")
        assert len(await left_over(world, server)) == 2
        world.change("ElinkTenant", tenant, {"spec": {"state": "Cancelled"}})
        world.delete(f"/apis/elink-lc.com/v1/elinktenants/{tenant}")
        await until(lambda: world.et(tenant) is None, timeout=PATIENCE, what="erased")
        assert world.er("back") is None
        assert await left_over(world, server) == []


async def test_a_copy_on_another_server_borrows_the_access_to_the_store_and_gives_it_back(
    world: World, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a store that every server reaches."""
    other = world.unique("other")
    async with world.operator():
        server, tenant = await served(world)
        world.server(other)
        await until(lambda: is_ready(world.es(other)), timeout=PATIENCE, what="the other server")
        world.restore("refused", tenant, "AsNew", asNew={"tenant": f"{tenant}-no", "server": other})
        status = await ended(world, "refused", "Failed")
        assert (status["failure"], world.et(f"{tenant}-no")) == ("StoreNotReachable", None)
        assert f"set spec.asNew.server to {server}" in status["message"]
        monkeypatch.setattr("elink_operator.reconcile.restore_steps.reachable_from", lambda *_: True)
        script.go.clear()
        copy = f"{tenant}-copy"
        world.restore("copied", tenant, "AsNew", asNew={"tenant": copy, "server": other})
        secrets = f"/api/v1/namespaces/{naming.server_namespace(other)}/secrets"
        loans = partial(world.items, f"{secrets}?labelSelector=elink-lc.com%2Frestore%3Dcopied")
        [loan] = await until(loans, timeout=PATIENCE, what="the borrowed Secret")
        own = world.get(
            f"/api/v1/namespaces/{naming.server_namespace(server)}/secrets/{naming.backup_key_copy(tenant)}"
        )
        assert loan["data"] == (own or {})["data"]
        script.broken["migrate"] = (1, "")
        script.go.set()
        status = await ended(world, "copied", "RolledBack")
        assert status["failure"] == "MigrationFailed"
        assert loans() == []
        assert (world.et(copy) or {})["status"]["server"] == other
