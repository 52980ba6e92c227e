"""Leadership on a real API server: one leader, quick hand-over, nobody writes after losing it."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from elink_operator.cluster.client import Client
from elink_operator.cluster.connection import Connection
from elink_operator.cluster.errors import NotLeader
from elink_operator.cluster.kinds import LEASE
from elink_operator.cluster.lease import Elector, LeaseLost, LeaseTimes
from elink_operator.metrics import Metrics

from tests.operator.cluster.conftest import CONFIG_MAP, config_map
from tests.support.apiserver import ApiServer
from tests.support.faultproxy import FaultProxy

pytestmark = pytest.mark.apiserver

TIMES = LeaseTimes(duration=6, renew_deadline=5, retry=0.4)
"""A busy machine keeps it, and nobody has to wait long for one that is lost."""


class Candidate:
    """One replica: a client with a proxy of its own, and its elector."""

    def __init__(self, name: str, namespace: str, proxy: FaultProxy, token: str) -> None:
        self.proxy = proxy
        self.metrics = Metrics()
        self.client = Client(Connection(proxy.url, None, lambda: token), self.metrics)
        self.elector = Elector(self.client, name, namespace, self.metrics, times=TIMES)
        self.client.may_write = lambda: self.elector.is_leader
        self.task = asyncio.create_task(self.elector.run())

    async def kill(self) -> None:
        """As kill -9 does: no release."""
        self.task.cancel()
        await asyncio.wait([self.task])


Start = Callable[[str], Awaitable[Candidate]]


@pytest.fixture
async def start(apiserver: ApiServer, namespace: str) -> AsyncIterator[Start]:
    made: list[Candidate] = []
    proxies: list[FaultProxy] = []

    async def begin(name: str) -> Candidate:
        proxy = FaultProxy(apiserver.url, apiserver.ca)
        await proxy.__aenter__()
        proxies.append(proxy)
        made.append(Candidate(name, namespace, proxy, apiserver.admin_token))
        return made[-1]

    yield begin
    for candidate in made:
        await candidate.kill()
        await candidate.client.close()
    for proxy in proxies:
        await proxy.__aexit__()


async def leads(candidate: Candidate, seconds: float = 60) -> None:
    await asyncio.wait_for(candidate.elector.acquired.wait(), seconds)


async def test_one_leads_and_the_other_waits(start: Start, client: Client, namespace: str) -> None:
    first = await start("first")
    await leads(first)
    second = await start("second")
    await asyncio.sleep(TIMES.duration + 1)
    assert first.elector.is_leader
    assert not second.elector.is_leader
    assert second.elector.holder == "first"
    lease = await client.get(LEASE, "elink-operator", namespace)
    assert lease["spec"]["holderIdentity"] == "first"
    assert second.metrics.registry.get_sample_value("elink_leader") == 0
    assert first.metrics.registry.get_sample_value("elink_leader") == 1


async def test_two_candidates_at_once_make_one_leader(start: Start) -> None:
    candidates = [await start(f"c{number}") for number in range(4)]
    won = [asyncio.create_task(candidate.elector.acquired.wait()) for candidate in candidates]
    await asyncio.wait(won, timeout=60, return_when=asyncio.FIRST_COMPLETED)
    for _ in range(20):
        assert sum(candidate.elector.is_leader for candidate in candidates) <= 1
        await asyncio.sleep(0.1)
    assert sum(candidate.elector.is_leader for candidate in candidates) == 1
    for task in won:
        task.cancel()


async def test_a_released_lease_is_taken_at_once(start: Start, client: Client, namespace: str) -> None:
    first = await start("first")
    await leads(first)
    second = await start("second")
    await asyncio.sleep(0.5)
    await first.kill()
    await first.elector.release()
    started = time.monotonic()
    await leads(second)
    assert time.monotonic() - started < TIMES.duration
    assert not first.elector.is_leader
    lease = await client.get(LEASE, "elink-operator", namespace)
    assert lease["spec"]["leaseTransitions"] >= 1


async def test_a_killed_leader_is_replaced_after_the_duration_and_not_before(start: Start) -> None:
    first = await start("first")
    await leads(first)
    second = await start("second")
    await asyncio.sleep(1)
    renewals = first.proxy.count("PUT", "/leases/")
    while first.proxy.count("PUT", "/leases/") == renewals:  # noqa: ASYNC110 - no event tells of a renewal
        await asyncio.sleep(0.01)
    await first.kill()
    killed = time.monotonic()
    while not second.elector.is_leader:
        assert time.monotonic() - killed < 60
        assert not (first.elector.is_leader and second.elector.is_leader)
        await asyncio.sleep(0.02)
    assert time.monotonic() - killed > TIMES.duration - TIMES.retry * 2
    assert not first.elector.is_leader


async def test_a_cut_off_leader_stops_before_a_rival_starts(start: Start, namespace: str) -> None:
    first = await start("first")
    await leads(first)
    second = await start("second")
    await asyncio.sleep(1)
    async with first.proxy.outage():
        while not second.elector.is_leader:
            assert not (first.elector.is_leader and second.elector.is_leader)
            await asyncio.sleep(0.02)
    assert not first.elector.is_leader
    with pytest.raises(NotLeader):
        await first.client.apply(CONFIG_MAP, config_map(namespace, "stale"))
    with pytest.raises(LeaseLost):
        await asyncio.wait_for(first.task, 60)
    await second.client.apply(CONFIG_MAP, config_map(namespace, "fresh"))


async def test_a_short_outage_is_survived(start: Start) -> None:
    first = await start("first")
    await leads(first)
    async with first.proxy.outage():
        await asyncio.sleep(TIMES.retry * 2)
    await asyncio.sleep(TIMES.duration)
    assert first.elector.is_leader
    assert not first.task.done()


async def test_a_lost_answer_to_a_renewal_is_survived(start: Start) -> None:
    first = await start("first")
    await leads(first)
    lost = first.proxy.lose(method="PUT", path="/leases/", times=2)
    await asyncio.sleep(TIMES.duration)
    assert lost.hits == 2
    assert first.elector.is_leader


async def test_a_lease_stolen_by_hand_ends_leadership(start: Start, client: Client, namespace: str) -> None:
    first = await start("first")
    await leads(first)
    stolen = {"spec": {"holderIdentity": "thief", "renewTime": "2099-01-01T00:00:00.000000Z"}}
    await client.patch(LEASE, "elink-operator", stolen, namespace=namespace)
    with pytest.raises(LeaseLost):
        await asyncio.wait_for(first.task, 60)
    assert not first.elector.is_leader


async def test_a_stopped_process_knows_that_its_time_is_over(client: Client, namespace: str) -> None:
    """After SIGSTOP and SIGCONT no timer has run, but the clock has gone on."""
    now = 1000.0
    metrics = Metrics()
    name = f"lease-{secrets.token_hex(3)}"
    elector = Elector(client, "a", namespace, metrics, times=TIMES, name=name, clock=lambda: now)
    task = asyncio.create_task(elector.run())
    await asyncio.wait_for(elector.acquired.wait(), 60)
    assert elector.is_leader
    now += TIMES.renew_deadline
    assert not elector.is_leader
    task.cancel()


def test_unsafe_times_are_refused() -> None:
    with pytest.raises(ValueError, match="retry < renew deadline < duration"):
        LeaseTimes(duration=10, renew_deadline=10)
