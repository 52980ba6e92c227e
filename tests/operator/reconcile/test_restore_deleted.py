"""A tenant is deleted, past every rule or with leave, while its data is being restored or moved."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from elink_operator import naming
from elink_operator.database import DatabaseError, ServerDb, TenantDb
from elink_operator.reconcile import move_steps, restore_steps
from elink_operator.reconcile.restore_case import Case, Place

from tests.operator.reconcile import test_move as moves
from tests.operator.reconcile.harness import Operator, World, condition, until
from tests.operator.reconcile.restoring import (
    NEW,
    OLD,
    PATIENCE,
    Script,
    contents,
    ended,
    left_over,
    registry_state,
    served,
    step,
    suspended,
)

pytestmark = pytest.mark.timeout(900)


def hold_at(op: Operator, script: Script, wanted: str) -> Callable[[], None]:
    """Let restores come to a step and no further; what is returned lets them go on."""
    databases = op.ctx.databases
    ensure, adopt = databases.ensure_tenant, databases.adopt_scratch
    held = True

    async def into_service(server: ServerDb, row: TenantDb, *, may_make: bool) -> bool:
        if held and wanted == "Verify" and row.state == "Active":
            raise DatabaseError("held by the test")
        return await ensure(server, row, may_make=may_make)

    async def switch(*names: Any) -> None:
        if held and wanted == "SwitchDatabase":
            raise DatabaseError("held by the test")
        await adopt(*names)

    def go_on() -> None:
        nonlocal held
        held = False
        script.go.set()

    databases.ensure_tenant, databases.adopt_scratch = into_service, switch  # type: ignore[method-assign]
    if wanted == "Restore":
        script.go.clear()
    return go_on


async def deleted_at(world: World, op: Operator, script: Script, tenant: str, mode: str, wanted: str) -> None:
    """A restore `back` that has come to a step when its tenant is deleted past every rule."""
    skip = {"metadata": {"annotations": {"elink-lc.com/skip-safety-backup": tenant}}}
    world.change("ElinkTenant", tenant, skip)
    await op.settle()
    go_on = hold_at(op, script, wanted)
    world.restore("back", tenant, mode)
    await until(lambda: step(world, "back") == wanted, timeout=PATIENCE, what=wanted)
    await until(lambda: condition(world.et(tenant), "Ready").get("status") != "True" or mode == "Drill")
    world.delete(f"/apis/elink-lc.com/v1/elinktenants/{tenant}")
    await until(lambda: condition(world.et(tenant), "Ready").get("reason") == "ErasureNotConfirmed")
    go_on()


async def in_service_unconfirmed(world: World, op: Operator, server: str, tenant: str) -> None:
    await until(partial(is_active, world, tenant), what="in service")
    await until(lambda: not suspended(world, server, tenant), what="backups go on")
    await op.settle()
    assert condition(world.et(tenant), "Ready")["reason"] == "ErasureNotConfirmed"
    assert await registry_state(world, tenant) == "Active"


async def is_active(world: World, tenant: str) -> bool:
    return await registry_state(world, tenant) == "Active"


@pytest.mark.parametrize("wanted", ["Restore", "SwitchDatabase"])
async def test_a_deletion_that_nobody_confirmed_turns_a_restore_back(world: World, script: Script, wanted: str) -> None:
    async with world.operator() as op:
        server, tenant = await served(world)
        await deleted_at(world, op, script, tenant, "InPlace", wanted)
        status = await ended(world, "back", "RolledBack")
        assert status["failure"] == "TenantDeleted"
        await in_service_unconfirmed(world, op, server, tenant)
        assert await contents(world, server, tenant) == OLD
        assert await left_over(world, server) == []


async def test_a_deletion_that_nobody_confirmed_after_the_switch_leaves_the_restored_data_in_service(
    world: World, script: Script
) -> None:
    async with world.operator() as op:
        server, tenant = await served(world)
        await deleted_at(world, op, script, tenant, "InPlace", "Verify")
        await ended(world, "back")
        await in_service_unconfirmed(world, op, server, tenant)
        assert await contents(world, server, tenant) == NEW
        assert step(world, "back") == "KeepOld"
        assert len(await left_over(world, server)) == 2
        op.clock.offset = timedelta(hours=25)
        op.ctx.wake("restore", "back")
        await until(lambda: step(world, "back") == "Done", timeout=PATIENCE)
        assert await left_over(world, server) == []
        assert await contents(world, server, tenant) == NEW


async def test_a_deletion_that_nobody_confirmed_leaves_nothing_of_a_drill(world: World, script: Script) -> None:
    async with world.operator() as op:
        server, tenant = await served(world)
        await deleted_at(world, op, script, tenant, "Drill", "Restore")
        assert (await ended(world, "back", "Failed"))["failure"] == "TenantDeleted"
        assert await left_over(world, server) == []
        assert await contents(world, server, tenant) == OLD


async def test_a_deletion_that_nobody_confirmed_is_called_so_in_the_middle_of_a_step_too(
    world: World, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    borrow = restore_steps.borrow

    async def deleted_meanwhile(case: Case, place: Place) -> None:
        world.delete(f"/apis/elink-lc.com/v1/elinktenants/{case.restore.spec.tenant}")
        await until(lambda: case.source is None or case.source.deleting)
        await borrow(case, place)

    monkeypatch.setattr(restore_steps, "borrow", deleted_meanwhile)
    async with world.operator():
        _, tenant = await served(world)
        world.restore("back", tenant, "Drill")
        assert (await ended(world, "back", "Failed"))["failure"] == "TenantDeleted"


@pytest.mark.parametrize("wanted", ["Restore", "SwitchDatabase", "Verify"])
async def test_a_confirmed_erasure_goes_on_whatever_a_restore_was_doing(
    world: World, script: Script, wanted: str
) -> None:
    async with world.operator() as op:
        server, tenant = await served(world)
        await deleted_at(world, op, script, tenant, "InPlace", wanted)
        world.change("ElinkTenant", tenant, {"metadata": {"annotations": {"elink-lc.com/confirm-erasure": tenant}}})
        await until(lambda: world.et(tenant) is None, timeout=PATIENCE, what="erased")
        assert world.er("back") is None
        assert await left_over(world, server) == []
        assert await registry_state(world, tenant) == ""


@pytest.mark.parametrize(("wanted", "phase"), [("Restore", "RolledBack"), ("Verify", "Succeeded")])
async def test_a_deletion_that_nobody_confirmed_during_a_move_keeps_the_tenant_in_service(
    world: World, script: Script, monkeypatch: pytest.MonkeyPatch, wanted: str, phase: str
) -> None:
    monkeypatch.setattr(move_steps, "reachable_from", lambda *_: True)
    async with world.operator() as op:
        one, two, tenant = await moves.two_servers(world)
        if wanted == "Verify":
            go_on = hold_at(op, script, wanted)
            moves.ask(world, tenant, two)
        else:
            moves.ask(world, tenant, two)
            await until(lambda: "safety/backup" in script.ran, timeout=PATIENCE, what="the last backup")
            go_on = hold_at(op, script, wanted)
        name = await until(lambda: moves.move_of(world, tenant), timeout=PATIENCE)
        await until(lambda: step(world, name) == wanted, timeout=PATIENCE, what=wanted)
        world.delete(f"/apis/elink-lc.com/v1/elinktenants/{tenant}")
        await until(lambda: condition(world.et(tenant), "Ready").get("reason") == "ErasureNotConfirmed")
        go_on()
        await ended(world, name, phase)
        home, number, data = (two, 1, NEW) if wanted == "Verify" else (one, 0, OLD)
        await until(partial(in_service_on, world, number, tenant), what="in service")
        namespace = naming.server_namespace(home)
        path = f"/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes/{naming.tenant_route(tenant)}"
        await until(lambda: world.get(path), what="the route")
        assert await moves.contents(world, world.more[number], home, tenant) == data
        assert not suspended(world, home, tenant)


async def in_service_on(world: World, number: int, tenant: str) -> bool:
    connection = await world.more[number].connect("elink_registry")
    try:
        return bool(await connection.fetchval("SELECT state = 'Active' FROM tenant WHERE name = $1", tenant))
    finally:
        await connection.close()
