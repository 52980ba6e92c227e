"""A tenant's database that vanished is never replaced by an empty one before a person says so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from elink_operator import labels, naming

from tests.operator.reconcile.harness import Operator, World, condition, is_ready, until


async def served(world: World) -> tuple[str, str]:
    """The names of a new server and a tenant that it serves."""
    server, tenant = world.unique("shared"), world.unique("t")
    world.server(server)
    world.tenant(tenant)
    return server, tenant


async def look(world: World, op: Operator, server: str) -> None:
    """What the comparison of the next minute does, and a resync of everything."""
    op.ctx.memory.looked.clear()
    op.ctx.wake("server", server)
    await op.settle()
    await op.look_at_everything()


async def remove_database(world: World, name: str) -> None:
    connection = await world.postgres.connect()
    await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await connection.close()


def exists(world: World, name: str) -> Callable[[], Awaitable[bool]]:
    async def answer() -> bool:
        return bool(await world.sql("postgres", "SELECT 1 FROM pg_database WHERE datname = $1", name))

    return answer


def is_lost(world: World, tenant: str) -> bool:
    found = condition(world.et(tenant), "DatabaseReady")
    return (found.get("status"), found.get("reason")) == ("False", "DatabaseLost")


def answered(world: World, tenant: str, value: str | None) -> None:
    world.change("ElinkTenant", tenant, {"metadata": {"annotations": {labels.RECREATE_DATABASE: value}}})


def warnings(world: World, tenant: str) -> list[dict[str, Any]]:
    listed = world.items("/api/v1/namespaces/default/events")
    return [e for e in listed if e["involvedObject"]["name"] == tenant and e["type"] == "Warning"]


@pytest.mark.timeout(600)
async def test_nothing_is_made_before_somebody_answers_this_very_loss(world: World) -> None:
    server, tenant = await served(world)
    name = naming.tenant_database(tenant)
    there = exists(world, name)
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(tenant)))
        await op.settle()
        assert "databaseLostAt" not in (world.et(tenant) or {})["status"]
        await remove_database(world, name)
        await world.sql("postgres", f'DROP ROLE "{name}"')
        await world.sql("elink_registry", "DELETE FROM tenant WHERE name = $1", tenant)
        await look(world, op, server)
        await until(lambda: is_lost(world, tenant), what="DatabaseLost")
        found = world.et(tenant) or {}
        lost_at = found["status"]["databaseLostAt"]
        ready = condition(found, "Ready")
        assert (ready["status"], ready["reason"]) == ("False", "DatabaseLost")
        assert f"kubectl annotate et {tenant} --overwrite elink-lc.com/recreate-database=" in ready["message"]
        assert lost_at not in ready["message"]
        told = await until(lambda: warnings(world, tenant), what="the Event about the lost data")
        assert [event["reason"] for event in told] == ["DatabaseLost"]
        lost = op.engine.metrics.registry.get_sample_value("elink_tenant_database_lost", {"tenant": tenant})
        assert lost == 1
    # Neither time nor a restart nor a wrong answer makes an empty one.
    async with world.operator() as op:
        await op.settle()
        op.clock.offset += timedelta(hours=1)
        for wrong in ("", "yes", tenant, lost_at.replace("20", "19", 1), f"{lost_at} "):
            answered(world, tenant, wrong)
            await op.settle()
            await look(world, op, server)
        assert is_lost(world, tenant)
        assert (world.et(tenant) or {})["status"]["databaseLostAt"] == lost_at
        assert not await there()
        answered(world, tenant, lost_at)
        await until(there, what="the empty database")
        await until(lambda: is_ready(world.et(tenant)))
        await op.settle()
        assert "databaseLostAt" not in (world.et(tenant) or {})["status"]
        assert await world.sql("elink_registry", "SELECT 1 FROM tenant WHERE name = $1", tenant)
        assert "DatabaseRecreated" in [event["reason"] for event in warnings(world, tenant)]
        # The old answer is still there: it does not count for the next loss.
        await remove_database(world, name)
        await look(world, op, server)
        await until(lambda: is_lost(world, tenant), what="the second loss")
        assert (world.et(tenant) or {})["status"]["databaseLostAt"] != lost_at
        assert not await there()


@pytest.mark.timeout(600)
async def test_a_database_that_is_back_is_served_again_without_an_answer(world: World) -> None:
    server, tenant = await served(world)
    name = naming.tenant_database(tenant)
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(tenant)))
        await op.settle()
        await world.sql(name, "CREATE TABLE kept AS SELECT 7 AS value")
        # Away with its comment, as on a volume that is not mounted: a name alone does not make it findable.
        await world.sql("postgres", f'ALTER DATABASE "{name}" RENAME TO elsewhere')
        marker = await world.sql(
            "postgres", "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'elsewhere'"
        )
        await world.sql("postgres", "COMMENT ON DATABASE elsewhere IS 'not here'")
        try:
            await look(world, op, server)
            await until(lambda: is_lost(world, tenant), what="DatabaseLost")
            await world.sql("postgres", f"COMMENT ON DATABASE elsewhere IS '{marker[0][0]}'")
            await look(world, op, server)
            found = condition(world.et(tenant), "DatabaseReady")
            assert found["reason"] == "DatabaseTaken"
            assert "rename it back" in found["message"]
            assert (world.et(tenant) or {})["status"].get("databaseLostAt")
        finally:
            await world.sql("postgres", f'ALTER DATABASE elsewhere RENAME TO "{name}"')
        await look(world, op, server)
        await until(lambda: is_ready(world.et(tenant)))
        assert "databaseLostAt" not in (world.et(tenant) or {})["status"]
        assert [row[0] for row in await world.sql(name, "SELECT value FROM kept")] == [7]


@pytest.mark.timeout(600)
async def test_a_lost_database_stops_neither_neighbours_nor_the_erasure(world: World) -> None:
    server, tenant = await served(world)
    neighbour = world.unique("n")
    world.tenant(neighbour)
    name = naming.tenant_database(tenant)
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(tenant)) and is_ready(world.et(neighbour)))
        await op.settle()
        await remove_database(world, name)
        await look(world, op, server)
        await until(lambda: is_lost(world, tenant), what="DatabaseLost")
        assert is_ready(world.et(neighbour))
        later = world.unique("later")
        world.tenant(later)
        await until(lambda: is_ready(world.et(later)), what="a new tenant beside a lost one")
        world.change("ElinkTenant", tenant, {"metadata": {"annotations": {labels.CONFIRM_ERASURE: tenant}}})
        world.delete(f"/apis/elink-lc.com/v1/elinktenants/{tenant}")
        await until(lambda: world.et(tenant) is None, what="the erasure of a tenant without database")
        assert not await exists(world, name)()
