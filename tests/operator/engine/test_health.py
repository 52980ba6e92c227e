"""Health endpoints and metrics, over HTTP."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from elink_operator import health
from elink_operator.api import ElinkServer, ElinkTenant
from elink_operator.api.world import World
from elink_operator.business import BusinessCollector
from elink_operator.metrics import Metrics
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.ports import free_port

NOW = datetime(2026, 4, 1, tzinfo=UTC)


async def get(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as response:
        return response.status, await response.text()


async def test_probes_say_what_is_wrong() -> None:
    problems: dict[str, str | None] = {"live": None, "ready": "caches are being filled"}
    app = health.application(Metrics(), live=lambda: problems["live"], ready=lambda: problems["ready"])
    port = free_port()
    runner = await health.serve(app, port)
    try:
        assert (await get(port, "/healthz"))[0] == 200
        assert await get(port, "/readyz") == (503, "caches are being filled\n")
        problems.update(live="the watch of Secret hangs", ready=None)
        assert (await get(port, "/livez"))[0] == 503
        assert (await get(port, "/readyz"))[0] == 200
        status, text = await get(port, "/metrics")
        assert status == 200
        assert "elink_operator_info" in text
    finally:
        await runner.cleanup()


async def test_a_stalled_event_loop_shows() -> None:
    metrics = Metrics()
    lag = health.LoopLag(metrics)
    task = asyncio.create_task(lag.run())
    await asyncio.sleep(0.1)
    time.sleep(1.0)  # noqa: ASYNC251 - the stall that is to be measured
    await asyncio.sleep(0.1)
    assert (metrics.registry.get_sample_value("elink_event_loop_lag_seconds") or 0) > 0.3
    task.cancel()


def tenant(name: str, *, plan: str = "Shared", deleted: datetime | None = None, **status: Any) -> ElinkTenant:
    metadata: dict[str, Any] = {"name": name, "uid": name}
    if deleted:
        metadata["deletionTimestamp"] = deleted.isoformat()
    spec = {"plan": plan, "displayName": name, "masterAccount": {"email": "a@example.com"}}
    return ElinkTenant.parse({"metadata": metadata, "spec": spec, "status": status})


def condition(type_: str, status: str) -> dict[str, str]:
    return {"type": type_, "status": status, "reason": "R", "lastTransitionTime": "2026-01-01T00:00:00Z"}


@pytest.fixture
def scraped() -> dict[str, dict[tuple[str, ...], float]]:
    """family -> values of the labels in the order of their names -> value, of a world with two tenants and a server."""
    conditions = [condition("Ready", "True"), condition("BackupHealthy", "False"), condition("Isolated", "Unknown")]
    backup = {"generations": 3, "newest": (NOW - timedelta(hours=5)).isoformat()}
    server = ElinkServer.parse({"metadata": {"name": "s"}, "spec": {"tenancy": "Shared", "maxTenants": 7}})
    world = World(
        base_domain="example.com",
        regions=frozenset({"jp"}),
        default_region="jp",
        tenants=[
            tenant("a", server="s", phase="Active", conditions=conditions, backup=backup),
            tenant("b", plan="Dedicated", deleted=NOW - timedelta(minutes=2)),
        ],
        servers=[server],
    )
    metrics = Metrics()
    metrics.registry.register(BusinessCollector(world, lambda: NOW))
    text = generate_latest(metrics.registry).decode()
    return {
        family.name: {tuple(sample.labels.values()): sample.value for sample in family.samples}
        for family in text_string_to_metric_families(text)
    }


def test_business_gauges(scraped: dict[str, dict[tuple[str, ...], float]]) -> None:
    assert scraped["elink_tenants"] == {("Active", "Shared"): 1, ("Pending", "Dedicated"): 1}
    assert scraped["elink_tenant_ready"] == {("a",): 1, ("b",): 0}
    assert scraped["elink_tenant_condition"] == {("a", "BackupHealthy"): 0, ("a", "Isolated"): -1}
    assert scraped["elink_server_tenants"] == {("s",): 1}
    assert scraped["elink_server_capacity"] == {("s",): 7}
    assert scraped["elink_oldest_deletion_age_seconds"] == {(): 120}
    assert scraped["elink_backup_newest_age_seconds"] == {("a",): 5 * 3600}
    assert scraped["elink_backup_generations"] == {("a",): 3, ("b",): 0}
    assert scraped["elink_backup_damaged_generations"] == {("a",): 0, ("b",): 0}


def test_names_of_metrics_are_api(scraped: dict[str, dict[tuple[str, ...], float]]) -> None:
    expected = {
        "workqueue_depth",
        "workqueue_adds",
        "workqueue_retries",
        "workqueue_queue_duration_seconds",
        "workqueue_unfinished_work_seconds",
        "workqueue_longest_running_processor_seconds",
        "elink_reconcile",
        "elink_reconcile_duration_seconds",
        "rest_client_requests",
        "rest_client_request_duration_seconds",
        "rest_client_retries",
        "elink_watch_age_seconds",
        "elink_cached_objects",
        "elink_event_loop_lag_seconds",
        "elink_leader",
        "elink_api_missing",
        "elink_apply",
        "process_resident_memory_bytes",
    }
    assert expected <= set(scraped)
