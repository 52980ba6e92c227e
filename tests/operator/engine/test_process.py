"""The operator as a process on a real API server: what it does when everything around it fails."""

import asyncio
import secrets
import signal
import time
from pathlib import Path

import pytest

from tests.operator.engine.conftest import SHORT_LEASE, Stage, until
from tests.support.apiserver import running
from tests.support.faultproxy import FaultProxy

pytestmark = pytest.mark.apiserver


def name() -> str:
    return f"t{secrets.token_hex(4)}"


async def test_a_tenant_is_reconciled_and_followed(stage: Stage) -> None:
    replica = stage.start()
    await until(lambda: replica.probe("/readyz") == 200)
    assert replica.probe("/healthz") == 200
    tenant = name()
    await asyncio.to_thread(stage.write, tenant, "one")
    await until(lambda: stage.mark(tenant) == "one")
    await asyncio.to_thread(stage.write, tenant, "two")
    await until(lambda: stage.mark(tenant) == "two")
    await asyncio.to_thread(stage.delete, tenant)
    await until(lambda: stage.mark(tenant) is None)


async def test_drift_is_repaired(stage: Stage) -> None:
    replica = stage.start()
    tenant = name()
    await asyncio.to_thread(stage.write, tenant, "right")
    await until(lambda: stage.mark(tenant) == "right")
    path = f"/api/v1/namespaces/{stage.namespace}/serviceaccounts/mark-{tenant}"
    assert (await asyncio.to_thread(stage.server.request, "DELETE", path))[0] == 200
    await until(lambda: stage.mark(tenant) == "right")
    assert replica.process.poll() is None


async def test_a_restart_writes_nothing(stage: Stage) -> None:
    first = stage.start()
    tenants = [name() for _ in range(5)]
    for tenant in tenants:
        await asyncio.to_thread(stage.write, tenant)
    await until(lambda: set(tenants) <= set(stage.marks()))
    first.signal(signal.SIGTERM)
    assert await asyncio.to_thread(first.wait, 60) == 0
    stage.proxy.seen.clear()
    second = stage.start()
    await until(lambda: len({line["tenant"] for line in second.lines("run ends")}) >= len(tenants))
    await asyncio.sleep(1)
    assert stage.proxy.writes() == []


async def test_at_rest_a_resync_costs_no_request(stage: Stage) -> None:
    replica = stage.start(RESYNC_SECONDS="2")
    tenants = [name() for _ in range(10)]
    for tenant in tenants:
        await asyncio.to_thread(stage.write, tenant)
    await until(lambda: set(tenants) <= {line["tenant"] for line in replica.lines("run ends")})
    runs, requests = len(replica.lines("run ends")), stage.proxy.calls()
    await until(lambda: len(replica.lines("run ends")) >= runs + 2 * len(tenants))
    assert stage.proxy.calls() == requests


async def test_a_killed_leader_is_replaced_by_the_warm_standby(stage: Stage) -> None:
    first = stage.start(**SHORT_LEASE)
    await until(lambda: first.leads)
    second = stage.start(**SHORT_LEASE)
    await until(lambda: second.probe("/readyz") == 200)
    assert not second.leads
    assert (first.metric("elink_leader"), second.metric("elink_leader")) == (1, 0)
    first.signal(signal.SIGKILL)
    tenant = name()
    await asyncio.to_thread(stage.write, tenant)
    started = time.monotonic()
    await until(lambda: stage.mark(tenant))
    assert second.leads
    assert time.monotonic() - started < 30, "as soon as the Lease has expired"


async def test_who_cannot_fill_its_caches_does_not_lead(stage: Stage) -> None:
    """One replica may not read Secrets: it must leave the Lease to the one that can."""
    stage.proxy.fail(403, path="/secrets")
    blind = stage.start()
    await until(lambda: blind.lines("watch refused"))
    able = stage.start(direct=True)
    tenant = name()
    await asyncio.to_thread(stage.write, tenant)
    await until(lambda: stage.mark(tenant))
    assert able.leads
    assert not blind.leads
    assert blind.probe("/readyz") == 503


async def test_sigterm_finishes_the_run_and_hands_over_at_once(stage: Stage) -> None:
    first = stage.start(STUB_SECONDS="2")
    await until(lambda: first.leads)
    second = stage.start()
    await until(lambda: second.probe("/readyz") == 200)
    tenant = name()
    await asyncio.to_thread(stage.write, tenant)
    await until(lambda: [line for line in first.lines("run begins") if line["tenant"] == tenant])
    first.signal(signal.SIGTERM)
    assert await asyncio.to_thread(first.wait, 60) == 0
    ended = time.monotonic()
    assert [line for line in first.lines("run ends") if line["tenant"] == tenant], "the run was cut off"
    await until(lambda: second.leads)
    assert time.monotonic() - ended < 20, "the standby must not wait for the Lease to expire"


async def test_a_frozen_leader_does_not_write_when_it_thaws(stage: Stage) -> None:
    """SIGSTOP for longer than the Lease: a rival leads; after SIGCONT the old one must not write, and must end."""
    stage.proxy.seen.clear()
    first = stage.start(STUB_SECONDS="1", **SHORT_LEASE)
    await until(lambda: first.leads)
    second = stage.start(direct=True, **SHORT_LEASE)
    await until(lambda: second.probe("/readyz") == 200)
    tenant = name()
    await asyncio.to_thread(stage.write, tenant)
    await until(lambda: [line for line in first.lines("run begins") if line["tenant"] == tenant])
    first.signal(signal.SIGSTOP)
    await until(lambda: stage.mark(tenant))
    before = len(stage.proxy.writes())
    first.signal(signal.SIGCONT)
    assert await asyncio.to_thread(first.wait, 60) == 1
    assert stage.proxy.writes()[before:] == [], "only the new leader (which is not behind the proxy) may write"
    assert second.process.poll() is None


async def test_a_leader_that_is_cut_off_ends_and_the_other_takes_over(stage: Stage) -> None:
    first = stage.start(**SHORT_LEASE)
    await until(lambda: first.leads)
    second = stage.start(direct=True, **SHORT_LEASE)
    await until(lambda: second.probe("/readyz") == 200)
    async with stage.proxy.outage():
        assert await asyncio.to_thread(first.wait, 60) == 1
        assert first.lines("leadership lost")
        tenant = name()
        await asyncio.to_thread(stage.write, tenant)
        await until(lambda: stage.mark(tenant))


async def test_what_kopf_misses_is_healed(stage: Stage) -> None:
    """A deletion and a creation during an outage, after which kopf re-lists: it never reports the deletion."""
    replica = stage.start(HEAL_SECONDS="1")
    doomed, born = name(), name()
    await asyncio.to_thread(stage.write, doomed)
    await until(lambda: stage.mark(doomed))
    async with stage.proxy.outage():
        await asyncio.to_thread(stage.delete, doomed)
        await asyncio.to_thread(stage.write, born)
        await asyncio.sleep(1)
        # Before the way is open again: a watch that goes on where it was would report the deletion.
        stage.proxy.expire(path="elinktenants", times=None)
    await until(lambda: stage.mark(doomed) is None and stage.mark(born))
    assert replica.process.poll() is None
    assert replica.metric("elink_cache_healed_total") >= 1


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_storm_of_errors_loses_nothing(stage: Stage, status: int) -> None:
    replica = stage.start(RETRY_BASE_SECONDS="0.2")
    await until(lambda: replica.leads and stage.proxy.watches("elinktenants"))
    storm = stage.proxy.fail(status, path="serviceaccounts|elinktenants", times=60)
    tenants = [name() for _ in range(10)]
    for tenant in tenants:
        await asyncio.to_thread(stage.write, tenant)
    await until(lambda: storm.hits >= 30, 60)
    storm.times = 0
    await until(lambda: set(tenants) <= set(stage.marks()), 60)
    assert replica.process.poll() is None


async def test_a_user_overtakes_a_backlog(stage: Stage) -> None:
    """300 creations of 1 s with 8 workers take 50 s; a change of an existing tenant must not wait for them."""
    replica = stage.start(STUB_SECONDS="1", WORKERS="8", URGENT_WORKERS="2")
    existing = name()
    await asyncio.to_thread(stage.write, existing, "old")
    await until(lambda: replica.lines("run ends"))
    for _ in range(300):
        await asyncio.to_thread(stage.write, name())
    await until(lambda: replica.metric('workqueue_depth{lane="NEW"}') > 100)
    await asyncio.to_thread(stage.write, existing, "new")
    await until(lambda: stage.mark(existing) == "new")
    assert replica.metric('workqueue_depth{lane="NEW"}') > 20, "it waited for the backlog"


async def test_a_restarted_api_server_is_survived(tmp_path: Path) -> None:
    """kill -9 of the API server; the operator lives on and reconciles what changed afterwards."""
    with running(tmp_path / "server") as server:
        await asyncio.to_thread(server.install_crds)
        async with FaultProxy(server.url, server.ca) as proxy:
            stage = Stage(server, tmp_path, proxy)
            await asyncio.to_thread(server.kubectl.run, "create", "namespace", stage.namespace)
            replica = stage.start(LEASE_DURATION_SECONDS="120", LEASE_RENEW_DEADLINE_SECONDS="100")
            try:
                await until(lambda: replica.leads)
                await asyncio.to_thread(stage.write, "before")
                await until(lambda: stage.mark("before"))
                server.kill()
                await asyncio.sleep(3)
                assert replica.probe("/healthz") == 200, "an API server that is down is no reason to restart"
                await asyncio.to_thread(server.start)
                await asyncio.to_thread(stage.write, "after")
                await asyncio.to_thread(stage.write, "before", "changed")
                await until(lambda: stage.mark("after") and stage.mark("before") == "changed", 60)
                assert replica.process.poll() is None
            finally:
                replica.process.kill()
                replica.process.wait()
