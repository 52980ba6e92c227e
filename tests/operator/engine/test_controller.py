"""The workers: repetition, time-out, order after a start, even resync, orderly stop."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from elink_operator.cluster.errors import Conflict, TooManyRequests
from elink_operator.cluster.kinds import TENANT
from elink_operator.cluster.store import Store
from elink_operator.controller import Controller, Pace, is_due
from elink_operator.metrics import Metrics
from elink_operator.workqueue import Backoff, Job, Lane, WorkQueue

READY = {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True"}]}


@dataclass(frozen=True)
class Outcome:
    requeue_after: float | None = None


class Rig:
    """A controller over a reconcile that a test defines."""

    def __init__(self, reconcile: Callable[[str], object], pace: Pace | None = None) -> None:
        self.metrics = Metrics()
        self.store = Store()
        self.queue = WorkQueue(self.metrics, bulk_limit=8, backoff=Backoff(first=0.01, longest=0.05))
        self.runs: list[str] = []
        self.running = 0
        self.most_at_once: Counter[str] = Counter()

        async def run(name: str) -> Outcome:
            self.runs.append(name)
            result = reconcile(name)
            if asyncio.iscoroutine(result):
                result = await result
            return result if isinstance(result, Outcome) else Outcome()

        reconciles = {"tenant": run, "server": run}
        self.controller = Controller(self.queue, self.store, reconciles, self.metrics, pace or Pace(workers=4))  # type: ignore[arg-type]
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.task = asyncio.create_task(self.controller.run())

    async def stop(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])

    def watch_lanes(self) -> list[Lane]:
        """The lanes of all runs, as they begin."""
        seen: list[Lane] = []
        take = self.queue.get

        async def get() -> Job:
            job = await take()
            seen.append(job.lane)
            return job

        self.queue.get = get  # type: ignore[method-assign]
        return seen

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0


async def until(check: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def tenant(name: str, version: int = 1, **fields: object) -> dict[str, object]:
    return {"metadata": {"name": name, "uid": name, "resourceVersion": str(version), "generation": 1, **fields}}


@pytest.mark.parametrize("error", [ValueError("bug"), Conflict("stale"), TooManyRequests("slow", retry_after=0.02)])
async def test_a_failed_run_is_repeated_until_it_succeeds(error: Exception) -> None:
    left = [error, error, error]

    def reconcile(_: str) -> None:
        if left:
            raise left.pop()

    rig = Rig(reconcile)
    rig.start()
    rig.queue.add(("tenant", "a"), Lane.NEW)
    await until(lambda: rig.value("elink_reconcile_total", kind="tenant", result="success") == 1)
    result = "conflict" if isinstance(error, Conflict) else "error"
    assert rig.value("elink_reconcile_total", kind="tenant", result=result) == 3
    assert rig.queue.failures(("tenant", "a")) == 0
    await rig.stop()


async def test_the_servers_wish_to_wait_is_respected() -> None:
    moments: list[float] = []

    def reconcile(_: str) -> None:
        moments.append(time.monotonic())
        if len(moments) == 1:
            raise TooManyRequests("slow", retry_after=0.3)

    rig = Rig(reconcile)
    rig.start()
    rig.queue.add(("tenant", "a"), Lane.NEW)
    await until(lambda: len(moments) == 2)
    assert moments[1] - moments[0] >= 0.3
    await rig.stop()


async def test_a_run_that_hangs_is_cancelled_and_repeated() -> None:
    rig = Rig(lambda name: asyncio.sleep(60), Pace(workers=1, run_timeout=0.05))
    rig.start()
    rig.queue.add(("tenant", "a"), Lane.NEW)
    await until(lambda: len(rig.runs) >= 2)
    await rig.stop()


async def test_requeue_after_leads_to_another_look() -> None:
    rig = Rig(lambda name: Outcome(0.02))
    rig.start()
    rig.queue.add(("server", "a"), Lane.NEW)
    await until(lambda: len(rig.runs) >= 3)
    await rig.stop()


@pytest.mark.parametrize(
    ("first", "status", "lanes"),
    [
        (Lane.URGENT, READY, [Lane.URGENT, Lane.NEW, Lane.NEW]),
        (Lane.URGENT, {"observedGeneration": 1}, [Lane.URGENT, Lane.NEW, Lane.NEW]),
        (Lane.URGENT, {"observedGeneration": 2}, [Lane.URGENT] * 3),
        (Lane.NEW, READY, [Lane.NEW] * 3),
        (Lane.RESYNC, {}, [Lane.RESYNC] * 3),
    ],
    ids=["in effect", "not ready", "change not in effect", "made", "looked at"],
)
async def test_another_look_is_urgent_only_while_somebody_waits_for_it(
    first: Lane, status: dict[str, object], lanes: list[Lane]
) -> None:
    """What was changed once would overtake the changes of others for ever, every time that it is looked at."""

    async def look(_: str) -> Outcome:
        rig.store.observed(TENANT, {**tenant("a"), "status": status})
        return Outcome(0.01)

    rig = Rig(look, Pace(workers=1, resync=3600))
    seen = rig.watch_lanes()
    rig.queue.add(("tenant", "a"), first)
    rig.start()
    await until(lambda: len(seen) >= 3)
    assert seen[:3] == lanes
    await rig.stop()


@pytest.mark.parametrize(
    ("error", "second"),
    [(Conflict("stale"), Lane.URGENT), (ValueError("bug"), Lane.NEW), (TooManyRequests("slow"), Lane.NEW)],
)
async def test_a_failed_run_is_repeated_in_the_normal_lane_but_a_conflict_was_no_try(
    error: Exception, second: Lane
) -> None:
    async def fail(_: str) -> Outcome:
        raise error

    rig = Rig(fail, Pace(workers=1, resync=3600))
    seen = rig.watch_lanes()
    rig.store.observed(TENANT, {**tenant("a"), "status": READY})
    rig.queue.add(("tenant", "a"), Lane.URGENT)
    rig.start()
    await until(lambda: len(seen) >= 3)
    assert seen[:3] == [Lane.URGENT, second, Lane.NEW]
    await rig.stop()


async def test_one_bad_tenant_does_not_hold_up_the_others() -> None:
    def reconcile(name: str) -> None:
        if name == "bad":
            raise ValueError("always")

    rig = Rig(reconcile, Pace(workers=1))
    rig.start()
    rig.queue.add(("tenant", "bad"), Lane.URGENT)
    for number in range(20):
        rig.queue.add(("tenant", f"good{number}"), Lane.NEW)
    await until(lambda: {f"good{number}" for number in range(20)} <= set(rig.runs))
    await rig.stop()


async def test_after_a_start_everything_is_looked_at_deletions_first() -> None:
    rig = Rig(lambda name: None, Pace(workers=1))
    ready = {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True"}]}
    rig.store.observed(TENANT, {**tenant("rest"), "status": ready})
    rig.store.observed(TENANT, tenant("new", 2))
    rig.store.observed(TENANT, tenant("dying", 3, deletionTimestamp="2026-01-01T00:00:00Z"))
    rig.start()
    await until(lambda: len(rig.runs) == 3)
    assert rig.runs == ["dying", "new", "rest"]
    await rig.stop()


async def test_resync_reaches_everything_again_and_again() -> None:
    rig = Rig(lambda name: None, Pace(workers=4, resync=0.3))
    for number in range(50):
        rig.store.observed(TENANT, tenant(f"t{number}", number + 1))
    rig.start()
    await until(lambda: min(Counter(rig.runs).get(f"t{number}", 0) for number in range(50)) >= 3)
    await rig.stop()


def test_resync_is_spread_evenly_and_hits_each_key_once_per_period() -> None:
    keys = [("tenant", f"t{number}") for number in range(5000)]
    per_tick = [
        sum(is_due(key, tick * 5.0, tick * 5.0 + 5, 600) for key in keys)  # type: ignore[arg-type]
        for tick in range(120)
    ]
    assert sum(per_tick) == 5000
    assert max(per_tick) < 3 * 5000 / 120


async def test_a_stop_waits_for_runs_and_starts_none() -> None:
    rig = Rig(lambda name: asyncio.sleep(0.2), Pace(workers=1))
    rig.start()
    rig.queue.add(("tenant", "first"), Lane.NEW)
    rig.queue.add(("tenant", "second"), Lane.NEW)
    await until(lambda: rig.runs == ["first"])
    assert await rig.controller.drain(5)
    await asyncio.sleep(0.05)
    assert rig.runs == ["first"]
    assert rig.value("elink_reconcile_total", kind="tenant", result="success") == 1
    await rig.stop()


async def test_a_stop_does_not_wait_for_ever() -> None:
    rig = Rig(lambda name: asyncio.sleep(60), Pace(workers=1))
    rig.start()
    rig.queue.add(("tenant", "a"), Lane.NEW)
    await until(lambda: rig.runs)
    assert not await rig.controller.drain(0.1)
    await rig.stop()
