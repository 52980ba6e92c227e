"""The gauges behind the alerts about restores and drills."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from elink_operator.api import ElinkRestore, ElinkServer, ElinkTenant
from elink_operator.api.world import World
from elink_operator.business import BusinessCollector

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PROVEN = {"at": "2026-02-20T00:00:00Z", "provenAt": "2026-02-01T00:00:00Z", "result": "Failed", "seconds": 90,
          "dataAgeSeconds": 3600}  # fmt: skip


def tenant(name: str, generations: int, drill: dict[str, Any] | None = None) -> ElinkTenant:
    status: dict[str, Any] = {"backup": {"generations": generations}}
    if drill:
        status["restoreDrill"] = drill
    return ElinkTenant.parse(
        {
            "metadata": {"name": name, "uid": name, "creationTimestamp": "2026-02-27T00:00:00Z"},
            "spec": {"plan": "Shared", "displayName": name, "masterAccount": {"email": "a@example.jp"}},
            "status": status,
        }
    )


def gauges(world: World, days: int = 30) -> dict[str, dict[str, float]]:
    families = BusinessCollector(world, lambda: NOW, days).collect()
    return {
        family.name: {s.labels.get("tenant", ""): s.value for s in family.samples}
        for family in families
        if family.name.startswith("elink_restore")
    }


OLD = {"generations": 7, "newest": "2026-02-27T00:00:00Z", "damaged": ["20260226T000000Z"]}


def test_backups_of_servers_own_data() -> None:
    world = World(base_domain="elink.example.jp", regions=frozenset({"jp"}), default_region="jp")
    for name, backup in (("new", {}), ("old", OLD)):
        metadata = {"name": name, "uid": name}
        parsed = ElinkServer.parse({"metadata": metadata, "spec": {"tenancy": "Shared"}, "status": {"backup": backup}})
        world.put_server(parsed)
    found = {
        family.name: {s.labels["server"]: s.value for s in family.samples}
        for family in BusinessCollector(world, lambda: NOW).collect()
        if family.name.startswith("elink_server_backup")
    }
    assert found == {
        "elink_server_backup_generations": {"new": 0, "old": 7},
        "elink_server_backup_damaged_generations": {"new": 0, "old": 1},
        "elink_server_backup_newest_age_seconds": {"old": 2 * 86400},
    }


def test_drills_and_restores() -> None:
    world = World(base_domain="elink.example.jp", regions=frozenset({"jp"}), default_region="jp")
    for one in (tenant("drilled", 7, PROVEN), tenant("young", 1), tenant("empty", 0)):
        world.put_tenant(one)
    for name, phase in (("a", "Running"), ("b", "Succeeded")):
        status = {"phase": phase, "startedAt": "2026-02-28T23:00:00Z"}
        spec = {"tenant": "drilled", "mode": "Drill"}
        world.put_restore(ElinkRestore.parse({"metadata": {"name": name}, "spec": spec, "status": status}))
    assert gauges(world) == {
        "elink_restore_drill_seconds": {"drilled": 90},
        "elink_restore_drill_data_age_seconds": {"drilled": 3600},
        "elink_restore_drill_failed": {"drilled": 1},
        "elink_restore_drill_proof_age_seconds": {"drilled": 28 * 86400, "young": 2 * 86400},
        "elink_restore_drill_limit_seconds": {"": 30 * 86400},
        "elink_restore_unfinished_seconds": {"drilled": 3600},
    }
    assert gauges(world, 0)["elink_restore_drill_limit_seconds"] == {}
