"""Moves: what is on the new server, what is left on the old one, and that a move that fails changes nothing."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from elink_operator import naming
from elink_operator.api.admission import validate_delete_server
from elink_operator.cluster.client import Client
from elink_operator.cluster.errors import Forbidden
from elink_operator.cluster.kinds import SERVER, Kind
from elink_operator.database import Databases
from elink_operator.reconcile import erase_steps, move_steps, restore_steps
from elink_operator.reconcile import tenant as tenant_run

from tests.operator.reconcile.harness import Obj, Operator, World, condition, is_ready, until
from tests.operator.reconcile.restoring import NEW, OLD, PATIENCE, Script, ended, phase, step
from tests.operator.reconcile.test_erase import erase_now, records_of
from tests.operator.reconcile.test_life import reasons
from tests.support.postgres import Postgres

pytestmark = pytest.mark.timeout(900)
ASKED = {"metadata": {"annotations": {"elink-lc.com/move": "true"}}}
_TRACES = {
    "postgres": "SELECT datname FROM pg_database WHERE datname ~ $1 UNION SELECT rolname FROM pg_roles WHERE rolname ~ $1",  # noqa: E501
    "elink_registry": "SELECT name FROM tenant WHERE name ~ $1",
}


@pytest.fixture
def script(world: World, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Scripted pods, and a store that every server can reach."""
    monkeypatch.setattr(move_steps, "reachable_from", lambda *_: True)
    return Script(world).install()


async def two_servers(world: World) -> tuple[str, str, str]:
    """Names of two servers and of a tenant with data on the first."""
    one, two, tenant = world.unique("shared"), world.unique("shared"), world.unique("t")
    world.server(one)
    world.server(two)
    world.tenant(tenant, server=one)
    await until(lambda: is_ready(world.et(tenant)), timeout=PATIENCE, what="Ready")
    await until(lambda: is_ready(world.es(two)), timeout=PATIENCE, what="the second server")
    await world.sql(naming.tenant_database(tenant), "INSERT INTO address (name) SELECT '前' FROM generate_series(1, 5)")
    path = world.standin.folder(naming.server_namespace(one), "files") / "tenants" / tenant / "前.txt"
    path.parent.mkdir(parents=True)
    path.write_text("前")
    return one, two, tenant


def ask(world: World, tenant: str, server: str) -> None:
    """What a person does who wants the tenant on another server."""
    world.change("ElinkTenant", tenant, {**ASKED, "spec": {"server": server}})


def move_of(world: World, tenant: str) -> str:
    """The name of the tenant's move; empty before it is made."""
    found = world.items("/apis/elink-lc.com/v1/elinkrestores")
    names = [r["metadata"]["name"] for r in found if r["spec"]["mode"] == "Move" and r["spec"]["tenant"] == tenant]
    return max(names, default="")


async def moved(world: World, tenant: str, wanted: str = "Succeeded") -> Obj:
    """The status of the move once its result is known, which must be `wanted`."""
    name = await until(lambda: move_of(world, tenant), timeout=PATIENCE, what="the move was made")
    return await ended(world, name, wanted)


async def contents(world: World, postgres: Postgres, server: str, tenant: str) -> tuple[set[str], dict[str, str]]:
    """Names of the tenant's addresses (without numbers), and its files, on one of the servers."""
    connection = await postgres.connect(naming.tenant_database(tenant))
    try:
        rows = await connection.fetch("SELECT DISTINCT rtrim(name, '0123456789') FROM address")
    finally:
        await connection.close()
    top = world.standin.folder(naming.server_namespace(server), "files") / "tenants" / tenant
    return {r[0] for r in rows}, {p.name: p.read_text() for p in sorted(top.rglob("*")) if p.is_file()}


async def traces(world: World, postgres: Postgres, server: str, tenant: str) -> list[str]:
    """Everything of the tenant that is on a server: databases, role, row, folders, objects in its namespace."""
    found: list[str] = []
    for database, statement in _TRACES.items():
        connection = await postgres.connect(database)
        pattern = tenant.replace("-", "[-_]")
        found += [row[0] for row in await connection.fetch(statement, pattern)]
        await connection.close()
    namespace = naming.server_namespace(server)
    top = world.standin.folder(namespace, "files") / "tenants"
    found += [p.name for p in top.glob("*") if tenant in p.name] + [p.name for p in top.glob(f".*{tenant}")]
    selector = f"?labelSelector=elink-lc.com%2Ftenant%3D{tenant}"
    for path in (
        f"/api/v1/namespaces/{namespace}/secrets",
        f"/apis/batch/v1/namespaces/{namespace}/cronjobs",
        f"/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes",
    ):
        found += [f"{path.rpartition('/')[2]} {o['metadata']['name']}" for o in world.items(path + selector)]
    return found


def lives_on(world: World, tenant: str, server: str) -> bool:
    found = world.et(tenant)
    return is_ready(found) and found is not None and found["status"]["server"] == server


async def source_is_removed(world: World, op: Operator, tenant: str) -> None:
    """The day for which the source's data is kept is over."""
    op.clock.offset += timedelta(hours=25)
    op.ctx.wake("restore", move_of(world, tenant))
    await until(lambda: step(world, move_of(world, tenant)) == "Done", timeout=PATIENCE, what="the source is removed")


async def test_a_tenant_moves_and_nothing_of_it_is_left_behind(world: World, script: Script) -> None:
    async with world.operator() as op:
        one, two, tenant = await two_servers(world)
        neighbour = world.unique(f"{tenant[:4]}")
        world.tenant(neighbour, server=one)
        await until(lambda: is_ready(world.et(neighbour)), timeout=PATIENCE)
        ask(world, tenant, two)
        status = await moved(world, tenant)
        await until(partial(lives_on, world, tenant, two), timeout=PATIENCE, what="Ready on the other server")
        assert status["sourceServer"] == one
        assert status["downSeconds"] <= PATIENCE
        assert "held" not in status, "its deliveries go on"
        # The last backup was made after nobody could change anything any more, and is what was restored.
        order = "safety/backup read-1/prepare read-1/restore read-1/migrate switch/switch"
        assert script.ran == order.split()
        assert await contents(world, world.more[1], two, tenant) == NEW
        assert await contents(world, world.more[0], one, tenant) == OLD, "the source is kept for a day"
        routes = world.items("/apis/gateway.networking.k8s.io/v1/httproutes")
        mine = [r for r in routes if r["metadata"]["labels"].get("elink-lc.com/tenant") == tenant]
        assert [r["metadata"]["namespace"] for r in mine] == [naming.server_namespace(two)]
        await source_is_removed(world, op, tenant)
        assert await traces(world, world.more[0], one, tenant) == []
        assert (world.er(move_of(world, tenant)) or {})["status"]["message"] == status["message"]
        assert script.forgotten == [naming.server_namespace(one)], "copies of registry and journals too"
        assert tenant not in str(world.items(f"/apis/batch/v1/namespaces/{naming.server_namespace(one)}/jobs"))
        assert await contents(world, world.more[1], two, tenant) == NEW
        beside = world.standin.folder(naming.server_namespace(two), "files") / "tenants"
        assert [p.name for p in beside.glob(".*")] == []
        selector = f"?labelSelector=elink-lc.com%2Ftenant%3D{tenant}"
        told = [c["spec"]["what"] for c in world.items(f"/apis/elink-lc.com/v1/elinkchanges{selector}")]
        assert {"Created", "MoveSucceeded"} <= set(told)
        assert lives_on(world, neighbour, one)
        assert is_ready(world.et(tenant))
        writes = len(world.proxy.writes())
        await op.look_at_everything()
        assert len(world.proxy.writes()) == writes, "a tenant that has moved is at rest"
        uid = (world.et(tenant) or {})["metadata"]["uid"]
        erase_now(world, tenant)
        await until(lambda: world.et(tenant) is None, timeout=PATIENCE, what="erased where it lives")
        [record] = records_of(world, uid)
        remains = [remaining["what"] for remaining in record["spec"]["remains"]]
        assert [what for what in remains if f"moved away from {one}:" in what], remains


async def test_the_server_that_was_the_tenants_own_goes_with_what_it_left(
    world: World, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The webhook judges the operator's deletions, too."""
    delete, tenant, two = Client.delete, world.unique("t"), world.unique("shared")
    async with world.operator() as op:

        async def judged(self: Client, kind: Kind, name: str, **more: Any) -> None:
            server = op.ctx.world.servers.get(name)
            if kind == SERVER and server is not None and not server.deleting:
                refusals = validate_delete_server(server, op.ctx.world)
                if refusals:
                    raise Forbidden(" ".join(refusals))
            await delete(self, kind, name, **more)

        monkeypatch.setattr(Client, "delete", judged)
        world.secret(f"{tenant}-database", port=str(world.more[0].port))
        database = {"mode": "External", "secretRef": {"name": f"{tenant}-database"}}
        world.tenant(tenant, plan="Dedicated", size={"database": database})
        await until(partial(lives_on, world, tenant, tenant), timeout=PATIENCE, what="Ready on its own server")
        world.server(two)
        await until(lambda: is_ready(world.es(two)), timeout=PATIENCE, what="the shared server")
        world.change("ElinkTenant", tenant, {**ASKED, "spec": {"plan": "Shared", "server": two, "size": None}})
        await moved(world, tenant)
        await until(partial(lives_on, world, tenant, two), timeout=PATIENCE)
        assert world.es(tenant) is not None, "kept for a day"
        await source_is_removed(world, op, tenant)
        assert world.es(tenant) is None
        assert await traces(world, world.more[0], tenant, tenant) == []
        assert lives_on(world, tenant, two)
        assert await contents(world, world.more[1], two, tenant) == NEW


async def test_a_source_that_is_removed_is_no_harm_to_an_erasure(
    world: World, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts a neighbour that then moves away, and compares while the source of that move is being removed."""
    victim, counted, left, compared = world.unique("t"), asyncio.Event(), asyncio.Event(), asyncio.Event()
    drop, clear = Databases.drop_tenant, erase_steps.clear_residue

    async def dropped_late(self: Databases, target: Any, doomed: Any) -> Any:
        if doomed.name == victim:
            await counted.wait()
        done = await drop(self, target, doomed)
        if doomed.name != victim:
            left.set()
        return done

    async def removed_late(case: Any) -> Any:
        """Only the move comes this way; the erasure has its own list of steps."""
        await compared.wait()
        return await clear(case)

    monkeypatch.setattr(Databases, "drop_tenant", dropped_late)
    async with world.operator() as op:
        one, two, tenant = await two_servers(world)
        world.tenant(victim, server=one)
        await until(lambda: is_ready(world.et(victim)), timeout=PATIENCE)
        erase_now(world, victim)
        await until(lambda: "NeighboursCounted" in erased_steps(world, victim), timeout=PATIENCE, what="counted")
        ask(world, tenant, two)
        await moved(world, tenant)
        await until(partial(lives_on, world, tenant, two), timeout=PATIENCE)
        monkeypatch.setattr(erase_steps, "clear_residue", removed_late)
        op.clock.offset += timedelta(hours=25)
        op.ctx.wake("restore", move_of(world, tenant))
        async with asyncio.timeout(PATIENCE):
            await left.wait()
        assert step(world, move_of(world, tenant)) == "RemoveSource"
        counted.set()
        await until(lambda: world.et(victim) is None, timeout=PATIENCE, what="the erasure ends by itself")
        assert "NeighboursHarmed" not in reasons(world, victim)
        compared.set()
        await until(lambda: step(world, move_of(world, tenant)) == "Done", timeout=PATIENCE)


def erased_steps(world: World, tenant: str) -> set[str]:
    """The steps of an erasure that are done."""
    steps = ((world.et(tenant) or {}).get("status", {}).get("erasure") or {}).get("steps", [])
    return {step["name"] for step in steps if step["done"]}


async def test_a_move_does_not_wait_for_the_day_that_a_restore_keeps_old_data(world: World, script: Script) -> None:
    async with world.operator():
        one, two, tenant = await two_servers(world)
        world.restore(tenant, tenant, "InPlace")
        await until(lambda: step(world, tenant) == "KeepOld", timeout=PATIENCE, what="restored, the old data kept")
        await until(partial(lives_on, world, tenant, one), timeout=PATIENCE)
        ask(world, tenant, two)
        await moved(world, tenant)
        await until(partial(lives_on, world, tenant, two), timeout=PATIENCE)
        assert await contents(world, world.more[1], two, tenant) == NEW


async def test_a_tenant_that_has_moved_can_be_restored_in_place(world: World, script: Script) -> None:
    """Nothing that the move left on the new server is in the way, before and after its own end."""
    async with world.operator():
        one, two, tenant = await two_servers(world)
        ask(world, tenant, two)
        await moved(world, tenant)
        await until(partial(lives_on, world, tenant, two), timeout=PATIENCE)
        world.restore("after-the-move", tenant, "InPlace")
        await ended(world, "after-the-move")
        await until(partial(lives_on, world, tenant, two), timeout=PATIENCE)
        assert await contents(world, world.more[1], two, tenant) == NEW
        assert await traces(world, world.more[0], one, tenant) == []


async def test_a_move_is_never_without_its_last_backup(world: World, script: Script) -> None:
    """An annotation that an earlier restore needed stays at the tenant; a move goes on where the data was."""
    async with world.operator():
        _, two, tenant = await two_servers(world)
        marks = {"elink-lc.com/skip-safety-backup": tenant}
        world.change("ElinkTenant", tenant, {"metadata": {"annotations": marks}})
        ask(world, tenant, two)
        status = await moved(world, tenant)
        assert script.ran[0] == "safety/backup"
        assert status["safetyBackup"] == "20260201T000001Z"
        reading = [c for c in script.commands if c[:2] == ["elink-backup", "restore"]]
        assert [c[2] for c in reading] == ["--generation=20260201T000001Z"], "by its name, not by clocks"


async def test_a_tenant_that_is_erased_while_its_move_is_verified_is_erased(
    world: World, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new server serves it only when it is Ready, which it never is again."""
    ready = restore_steps._is_ready
    monkeypatch.setattr(restore_steps, "_is_ready", lambda *_: False)
    async with world.operator():
        one, two, tenant = await two_servers(world)
        ask(world, tenant, two)
        await until(
            lambda: move_of(world, tenant) and step(world, move_of(world, tenant)) == "Verify", timeout=PATIENCE
        )
        erase_now(world, tenant)
        await until(lambda: bool((world.et(tenant) or {})["status"].get("erasure")), timeout=PATIENCE, what="erasing")
        monkeypatch.setattr(restore_steps, "_is_ready", ready)
        await until(lambda: world.et(tenant) is None, timeout=PATIENCE, what="erased")
        assert await traces(world, world.more[0], one, tenant) == []
        assert await traces(world, world.more[1], two, tenant) == []


async def test_a_run_that_began_before_the_move_does_not_lead_an_erasure_to_the_old_server(
    world: World, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tenant's own run knows the old home, and writes what it found when the move and the deletion are there."""
    at_home, go, began, release = (asyncio.Event() for _ in range(4))
    settle, observe = move_steps._settle_home, tenant_run._observe

    async def settled_late(case: Any) -> None:
        at_home.set()
        await go.wait()
        await settle(case)

    async def observed_late(ctx: Any, tenant: Any, home: Any, *rest: Any) -> None:
        if at_home.is_set() and not release.is_set():
            began.set()
            await release.wait()
        await observe(ctx, tenant, home, *rest)

    monkeypatch.setattr(move_steps, "_settle_home", settled_late)
    monkeypatch.setattr(tenant_run, "_observe", observed_late)
    async with world.operator() as op:
        one, two, tenant = await two_servers(world)
        ask(world, tenant, two)
        async with asyncio.timeout(PATIENCE):
            await at_home.wait()
            op.ctx.wake("tenant", tenant)
            await began.wait()
        go.set()
        await until(lambda: step(world, move_of(world, tenant)) == "Verify", timeout=PATIENCE)
        erase_now(world, tenant)
        with suppress(AssertionError):  # It must not go on before the tenant's run has ended.
            await until(lambda: phase(world, move_of(world, tenant)) == "Succeeded", timeout=5)
        release.set()
        await until(lambda: world.et(tenant) is None, timeout=PATIENCE, what="erased")
        assert await traces(world, world.more[0], one, tenant) == []
        assert await traces(world, world.more[1], two, tenant) == []


async def test_without_the_annotation_nothing_moves(world: World, script: Script) -> None:
    async with world.operator():
        one, two, tenant = await two_servers(world)
        world.change("ElinkTenant", tenant, {"spec": {"server": two}})
        found = await until(
            lambda: condition(world.et(tenant), "Ready").get("reason") in {"NotAllowed", "MoveNotAsked"},
            timeout=PATIENCE,
        )
        assert found
        assert move_of(world, tenant) == ""
        world.change("ElinkTenant", tenant, {"spec": {"server": one}})
        await until(partial(lives_on, world, tenant, one), timeout=PATIENCE)
        assert script.ran == []


@pytest.mark.parametrize("container", ["backup", "restore", "switch"])
async def test_a_move_that_fails_leaves_the_tenant_where_it_was(world: World, script: Script, container: str) -> None:
    script.broken[container] = (1, '{"result": "error", "reason": "StoreFull"}')
    async with world.operator() as op:
        one, two, tenant = await two_servers(world)
        ask(world, tenant, two)
        await moved(world, tenant, "RolledBack")
        await until(
            lambda: condition(world.et(tenant), "Ready").get("reason") == "MoveFailed", timeout=PATIENCE, what="told"
        )
        assert await contents(world, world.more[0], one, tenant) == OLD
        assert await traces(world, world.more[1], two, tenant) == []
        state = await world.sql("elink_registry", "SELECT state FROM tenant WHERE name = $1", tenant)
        assert [row["state"] for row in state] == ["Active"], "the customer works on"
        # Nothing tries again by itself; deleting the failed one does.
        script.broken.clear()
        await op.look_at_everything()
        assert condition(world.et(tenant), "Ready").get("reason") == "MoveFailed"
        world.delete(f"/apis/elink-lc.com/v1/elinkrestores/{move_of(world, tenant)}")
        await until(partial(lives_on, world, tenant, two), timeout=PATIENCE, what="moved at the second try")


async def test_setting_the_spec_back_calls_a_move_off(world: World, script: Script) -> None:
    async with world.operator():
        one, two, tenant = await two_servers(world)
        script.go.clear()
        ask(world, tenant, two)
        await until(lambda: move_of(world, tenant) and step(world, move_of(world, tenant)) == "SafetyBackup")
        await until(lambda: (world.et(tenant) or {})["status"]["phase"] == "Restoring")
        world.change("ElinkTenant", tenant, {"spec": {"server": one}})
        await until(partial(lives_on, world, tenant, one), timeout=PATIENCE, what="in service again")
        await until(lambda: move_of(world, tenant) == "", timeout=PATIENCE, what="the move is gone")
        assert await contents(world, world.more[0], one, tenant) == OLD
        assert await traces(world, world.more[1], two, tenant) == []


async def test_erasing_a_tenant_that_moves_leaves_nothing_on_either_server(world: World, script: Script) -> None:
    async with world.operator():
        one, two, tenant = await two_servers(world)
        ask(world, tenant, two)
        await moved(world, tenant)
        await until(partial(lives_on, world, tenant, two), timeout=PATIENCE)
        assert await traces(world, world.more[0], one, tenant) != []
        world.change("ElinkTenant", tenant, {"spec": {"state": "Cancelled"}})
        world.delete(f"/apis/elink-lc.com/v1/elinktenants/{tenant}")
        await until(lambda: world.et(tenant) is None, timeout=PATIENCE, what="erased")
        assert await traces(world, world.more[0], one, tenant) == []
        assert await traces(world, world.more[1], two, tenant) == []


async def test_an_operator_that_is_killed_at_every_step_still_moves_the_tenant_once(
    world: World, script: Script
) -> None:
    async with world.operator():
        one, two, tenant = await two_servers(world)
    ask(world, tenant, two)
    seen: list[str] = []
    while not seen or seen[-1] != "KeepOld":
        before = seen[-1] if seen else ""

        def further(before: str = before) -> bool:
            name = move_of(world, tenant)
            return bool(name) and step(world, name) not in {"", before}

        async with world.operator():
            await until(further, timeout=PATIENCE, what=f"a step after {before}")
        seen.append(step(world, move_of(world, tenant)))
        assert len(seen) < 20
    assert len(seen) >= 5, seen
    async with world.operator() as op:
        await until(partial(lives_on, world, tenant, two), timeout=PATIENCE)
        assert await contents(world, world.more[1], two, tenant) == NEW
        await source_is_removed(world, op, tenant)
        assert await traces(world, world.more[0], one, tenant) == []
    assert script.backups == 1
