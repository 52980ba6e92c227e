"""The gauges behind the alerts about erasures."""

from __future__ import annotations

from datetime import UTC, datetime

from elink_operator.api import ElinkTenant
from elink_operator.api.world import World
from elink_operator.business import BusinessCollector


def tenant(name: str, erase_after: str | None) -> ElinkTenant:
    status = {"cancelledAt": "2026-01-01T00:00:00Z", "eraseAfter": erase_after} if erase_after else {}
    return ElinkTenant.parse(
        {
            "metadata": {"name": name, "uid": name},
            "spec": {"plan": "Shared", "displayName": name, "masterAccount": {"email": "a@example.jp"}},
            "status": status,
        }
    )


def test_due_counts_down_through_zero_and_is_absent_for_tenants_that_stay() -> None:
    world = World(base_domain="elink.example.jp", regions=frozenset({"jp"}), default_region="jp")
    for one in (tenant("late", "2026-01-14T23:00:00Z"), tenant("soon", "2026-01-15T01:00:00Z"), tenant("stays", None)):
        world.put_tenant(one)
    families = BusinessCollector(world, lambda: datetime(2026, 1, 15, tzinfo=UTC)).collect()
    due = next(family for family in families if family.name == "elink_erasure_due_seconds")
    assert {s.labels["tenant"]: s.value for s in due.samples} == {"late": -3600.0, "soon": 3600.0}


def test_days_left_count_from_the_cancellation_or_the_deletion() -> None:
    world = World(base_domain="elink.example.jp", regions=frozenset({"jp"}), default_region="jp")
    deleted = tenant("deleted", None).dump()
    deleted["metadata"]["deletionTimestamp"] = "2026-01-20T00:00:00Z"
    for one in (tenant("cancelled", "2026-01-15T00:00:00Z"), ElinkTenant.parse(deleted), tenant("stays", None)):
        world.put_tenant(one)
    families = BusinessCollector(world, lambda: datetime(2026, 2, 1, tzinfo=UTC)).collect()
    left = next(family for family in families if family.name == "elink_erasure_days_left")
    assert {s.labels["tenant"]: s.value for s in left.samples} == {"cancelled": -1.0, "deleted": 18.0}
