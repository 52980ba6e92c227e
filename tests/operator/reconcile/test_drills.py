"""Drills on a schedule: which tenant, when, how many at once, and what their absence does to BackupHealthy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from elink_operator import labels
from elink_operator.api import ElinkRestore
from elink_operator.jst import JST
from elink_operator.reconcile.drills import stale

from tests.operator.reconcile.harness import Operator, World, condition, is_ready, until
from tests.operator.reconcile.restoring import PATIENCE, Script, ended, served

pytestmark = pytest.mark.timeout(900)


def drill(name: str, phase: str, finished: str, **metadata: Any) -> ElinkRestore:
    marks = {labels.DRILL: "true"}
    return ElinkRestore.parse(
        {
            "metadata": {"name": name, "uid": name, "labels": marks, **metadata},
            "spec": {"tenant": "acme", "mode": "Drill"},
            "status": {"phase": phase, "finishedAt": finished} if finished else {"phase": phase},
        }
    )


def test_the_newest_and_the_newest_that_succeeded_stay() -> None:
    found = [
        drill("a", "Succeeded", "2026-01-01T00:00:00Z"),
        drill("b", "Succeeded", "2026-02-01T00:00:00Z"),
        drill("c", "Failed", "2026-03-01T00:00:00Z"),
        drill("d", "Failed", "2026-03-02T00:00:00Z"),
        drill("e", "Running", ""),
        drill("by-hand", "Succeeded", "2025-01-01T00:00:00Z", labels={}),
    ]
    assert sorted(r.name for r in stale(found)) == ["a", "c"]
    found.append(drill("f", "Succeeded", "2026-03-03T00:00:00Z"))
    assert sorted(r.name for r in stale(found)) == ["a", "b", "c", "d"]


def backed_up(world: World, op: Operator, *tenants: str) -> None:
    """Their newest backups are of the operator's present, so that only the proof by a drill grows old."""
    newest = op.clock().strftime("%Y-%m-%dT%H:%M:%SZ")
    backup = {"generations": 1, "newest": newest, "bytes": 1000}
    for tenant in tenants:
        path = f"/apis/elink-lc.com/v1/elinktenants/{tenant}/status"
        code, answer = world.patch(path, {"status": {"backup": backup}}, "application/merge-patch+json")
        assert code == 200, answer


def at_noon(op: Operator, days: int) -> None:
    """Noon in Japan, some days from now: no backup runs."""
    now = datetime.now(UTC)
    op.clock.offset = (now + timedelta(days=days)).replace(hour=3, minute=0, second=0) - now


def drills_of(world: World) -> list[dict[str, Any]]:
    return [r for r in world.items("/apis/elink-lc.com/v1/elinkrestores") if labels.DRILL in r["metadata"]["labels"]]


async def two_with_backups(world: World, op: Operator) -> tuple[str, str, str]:
    """A server and two tenants whose newest backup was never drilled."""
    server, first = await served(world)
    second = world.unique("t")
    world.tenant(second, server=server)
    await until(lambda: (world.et(second) or {}).get("status", {}).get("observedGeneration"), timeout=PATIENCE)
    backed_up(world, op, first, second)
    return server, first, second


async def look(op: Operator, server: str) -> None:
    op.ctx.wake("server", server)
    await op.settle(timeout=PATIENCE)


async def test_drills_begin_when_due_one_at_a_time_and_prove_the_backup(world: World) -> None:
    script = Script(world).install()
    async with world.operator(drill_days=30) as op:
        server, first, second = await two_with_backups(world, op)
        await look(op, server)
        assert drills_of(world) == [], "a new tenant waits for its turn"
        at_noon(op, 28)
        backed_up(world, op, first, second)
        op.clock.offset += timedelta(hours=13)
        await look(op, server)
        assert drills_of(world) == [], "no drill in the hours of backups"
        script.go.clear()
        at_noon(op, 28)
        await look(op, server)
        assert len(drills_of(world)) == 1
        await look(op, server)
        assert len(drills_of(world)) == 1, "one at once on a server"
        script.go.set()
        script.broken["restore"] = (1, '{"result": "error", "reason": "StoreDamaged"}')
        name = drills_of(world)[0]["metadata"]["name"]
        tenant = drills_of(world)[0]["spec"]["tenant"]
        assert name.startswith(f"drill-{tenant}-")
        await ended(world, name, "Failed")
        op.ctx.wake("tenant", tenant)
        found = await until(
            lambda: condition(world.et(tenant), "BackupHealthy").get("reason") == "DrillFailed", timeout=PATIENCE
        )
        assert found
        script.broken.clear()
        for _ in range(2):
            await look(op, server)
        await until(lambda: {r["spec"]["tenant"] for r in drills_of(world)} == {first, second}, timeout=PATIENCE)
        at_noon(op, 30)
        await look(op, server)
        await until(
            lambda: ((world.et(tenant) or {})["status"].get("restoreDrill") or {}).get("result") == "Succeeded",
            timeout=PATIENCE,
            what="tried again after a day",
        )


async def test_a_drill_that_cannot_be_made_is_no_fault_of_the_server(world: World) -> None:
    """As while the CRD of restores is being deleted."""
    Script(world).install()
    async with world.operator(drill_days=30) as op:
        server, tenant = await served(world)
        backed_up(world, op, tenant)
        world.proxy.fail(405, method="POST", path="/elinkrestores")
        at_noon(op, 28)
        await look(op, server)
        assert is_ready(world.es(server)), condition(world.es(server), "Ready")
        world.proxy.heal()
        await look(op, server)
        assert [r["spec"]["tenant"] for r in drills_of(world)] == [tenant]


async def test_a_proof_that_is_too_old_is_none(world: World) -> None:
    Script(world).install()
    async with world.operator(drill_days=30, drills_at_once=1) as op:
        _, tenant = await served(world)
        world.restore("by-hand", tenant, "Drill")
        await ended(world, "by-hand")
        backed_up(world, op, tenant)
        op.ctx.wake("tenant", tenant)
        await until(lambda: condition(world.et(tenant), "BackupHealthy").get("reason") == "Recent", timeout=PATIENCE)
        # In the backups' hours, so that no drill begins by itself.
        at_noon(op, 31)
        op.clock.offset += timedelta(hours=13)
        backed_up(world, op, tenant)
        op.ctx.wake("tenant", tenant)
        await until(
            lambda: condition(world.et(tenant), "BackupHealthy").get("reason") == "DrillOverdue", timeout=PATIENCE
        )


def new_years_eve() -> datetime:
    """0.1 s before the first New Year in Japan on which a drill of a tenant of today is due."""
    now = datetime.now(UTC)
    eve = datetime(now.year, 12, 31, 23, 59, 59, 900_000, JST)
    return eve if eve - now > timedelta(days=28) else eve.replace(year=now.year + 1)


async def test_the_last_drill_of_a_year_begins_before_midnight_in_japan(world: World) -> None:
    Script(world).install().go.clear()
    async with world.operator(drill_days=30, drills_per_server=2) as op:
        server, first, second = await two_with_backups(world, op)
        eve = new_years_eve()
        op.clock.stopped_at = eve + timedelta(seconds=0.1)
        await look(op, server)
        assert drills_of(world) == [], "at midnight the hours of backups begin"
        op.clock.stopped_at = eve
        await look(op, server)
        [one] = drills_of(world)
        assert one["metadata"]["name"] == f"drill-{one['spec']['tenant']}-{eve.year}1231"
        op.clock.stopped_at = eve + timedelta(hours=6)
        await look(op, server)
        assert len(drills_of(world)) == 1, "0.1 s before six"
        op.clock.stopped_at = eve + timedelta(hours=6, seconds=0.1)
        await look(op, server)
        assert {d["metadata"]["name"] for d in drills_of(world)} == {
            one["metadata"]["name"],
            *(f"drill-{n}-{eve.year + 1}0101" for n in {first, second} - {one["spec"]["tenant"]}),
        }
