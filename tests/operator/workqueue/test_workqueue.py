"""The queue: client-go's promises, lanes, back-off; and what makes a user's change overtake a backlog."""

import asyncio
import random
from collections import Counter

import pytest
from elink_operator.metrics import Metrics
from elink_operator.workqueue import Backoff, Key, Lane, WorkQueue
from hypothesis import given, settings
from hypothesis import strategies as st


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def tenant(name: object) -> Key:
    return ("tenant", str(name))


def make(bulk_limit: int = 100, **options: object) -> WorkQueue:
    return WorkQueue(Metrics(), bulk_limit=bulk_limit, jitter=lambda: 0.5, **options)  # type: ignore[arg-type]


async def drain(queue: WorkQueue) -> list[str]:
    """Names in the order in which one worker gets them."""
    names = []
    while not queue.idle():
        job = await asyncio.wait_for(queue.get(), 60)
        names.append(job.key[1])
        queue.done(job.key)
    return names


async def test_keys_come_in_order_and_once() -> None:
    queue = make()
    for name in ("a", "b", "a", "c", "b"):
        queue.add(tenant(name), Lane.NEW)
    assert await drain(queue) == ["a", "b", "c"]


async def test_lanes_come_before_age() -> None:
    queue = make()
    queue.add(tenant("resync"), Lane.RESYNC)
    queue.add(tenant("new"), Lane.NEW)
    queue.add(tenant("urgent"), Lane.URGENT)
    assert await drain(queue) == ["urgent", "new", "resync"]


async def test_a_waiting_key_moves_to_the_better_lane_and_never_back() -> None:
    queue = make()
    for name in ("a", "b"):
        queue.add(tenant(name), Lane.NEW)
    queue.add(tenant("b"), Lane.URGENT)
    queue.add(tenant("b"), Lane.RESYNC)
    assert queue.depth(Lane.URGENT) == 1
    assert await drain(queue) == ["b", "a"]


async def test_tenant_and_server_of_one_name_are_two_keys() -> None:
    queue = make()
    queue.add(("tenant", "x"), Lane.NEW)
    queue.add(("server", "x"), Lane.NEW)
    assert len(await drain(queue)) == 2


async def test_what_is_added_while_it_runs_runs_once_more_and_not_at_the_same_time() -> None:
    queue = make()
    queue.add(tenant("a"), Lane.NEW)
    job = await queue.get()
    for lane in (Lane.RESYNC, Lane.URGENT, Lane.NEW):
        queue.add(tenant("a"), lane)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 0.05)
    queue.done(job.key)
    again = await asyncio.wait_for(queue.get(), 60)
    assert (again.key, again.lane) == (tenant("a"), Lane.URGENT)
    queue.done(again.key)
    assert queue.idle()


async def test_a_waiting_worker_is_woken() -> None:
    queue = make()
    workers = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.add(tenant("a"), Lane.NEW)
    done, pending = await asyncio.wait(workers, timeout=60, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == 1
    for task in pending:
        task.cancel()


async def test_a_cancelled_worker_passes_its_wake_up_on() -> None:
    queue = make()
    first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add(tenant("a"), Lane.NEW)
    first.cancel()
    assert (await asyncio.wait_for(second, 60)).key == tenant("a")
    assert (await asyncio.gather(first, return_exceptions=True))[0].__class__ is asyncio.CancelledError


async def test_places_are_kept_free_for_urgent_keys() -> None:
    queue = make(bulk_limit=2)
    for number in range(5):
        queue.add(tenant(f"new{number}"), Lane.NEW)
    bulk = [await queue.get(), await queue.get()]
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    queue.add(tenant("urgent"), Lane.URGENT)
    urgent = await asyncio.wait_for(waiting, 60)
    assert urgent.key == tenant("urgent")
    next_bulk = asyncio.create_task(queue.get())
    await asyncio.sleep(0.01)
    assert not next_bulk.done()
    queue.done(bulk[0].key)
    assert (await asyncio.wait_for(next_bulk, 60)).key == tenant("new2")


async def test_a_change_overtakes_a_backlog_of_a_thousand() -> None:
    """Eight workers, 1,000 creations of ~20 ms; a user's change is worked on within a few of them."""
    queue = make(bulk_limit=6)
    finished: list[str] = []
    changed = asyncio.Event()

    async def worker() -> None:
        while True:
            job = await queue.get()
            await asyncio.sleep(random.uniform(0.01, 0.03))
            finished.append(job.key[1])
            if job.key == tenant("changed"):
                changed.set()
            queue.done(job.key)

    for number in range(1000):
        queue.add(tenant(number), Lane.NEW)
    workers = [asyncio.create_task(worker()) for _ in range(8)]
    await asyncio.sleep(0.3)
    before = len(finished)
    queue.add(tenant("changed"), Lane.URGENT)
    await asyncio.wait_for(changed.wait(), 60)
    overtaken_by = finished.index("changed") - before
    for task in workers:
        task.cancel()
    assert overtaken_by <= 24


async def test_repetitions_wait_longer_each_time_and_start_anew_after_a_success() -> None:
    queue = make(backoff=Backoff(first=1, longest=300))
    pauses = [queue.retry(tenant("a"), Lane.NEW) for _ in range(12)]
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert queue.failures(tenant("a")) == 12
    queue.forget(tenant("a"))
    assert queue.retry(tenant("a"), Lane.NEW) == 1
    assert queue.retry(tenant("b"), Lane.NEW, at_least=60) == 60


def test_pauses_are_jittered_and_never_overflow() -> None:
    backoff = Backoff()
    assert backoff.delay(1, 0) == 0.5
    assert backoff.delay(1, 1) == 1.5
    assert backoff.delay(10_000, 0.5) == 300


async def test_the_earliest_of_several_plans_counts_and_a_run_cancels_it() -> None:
    queue = make()
    queue.add_after(tenant("a"), 0.05, Lane.NEW)
    queue.add_after(tenant("a"), 30, Lane.NEW)
    job = await asyncio.wait_for(queue.get(), 60)
    queue.done(job.key)
    queue.add_after(tenant("a"), 30, Lane.NEW)
    queue.add_after(tenant("a"), 0.05, Lane.NEW)
    queue.done((await asyncio.wait_for(queue.get(), 60)).key)
    queue.add_after(tenant("a"), 0.05, Lane.NEW)
    queue.add(tenant("a"), Lane.URGENT)
    queue.done((await queue.get()).key)
    await asyncio.sleep(0.1)
    assert queue.idle(), "the run that came first made the plan void"


async def test_a_plan_that_comes_due_while_the_key_runs_leads_to_one_run_more() -> None:
    queue = make()
    queue.add(tenant("a"), Lane.NEW)
    job = await queue.get()
    queue.add_after(tenant("a"), 0.01, Lane.NEW)
    await asyncio.sleep(0.05)
    queue.done(job.key)
    assert await drain(queue) == ["a"]


async def test_metrics_tell_depth_wait_and_the_longest_run() -> None:
    clock, metrics = Clock(), Metrics()
    queue = WorkQueue(metrics, bulk_limit=10, clock=clock)
    value = metrics.registry.get_sample_value
    queue.add(tenant("a"), Lane.NEW)
    queue.add(tenant("b"), Lane.URGENT)
    assert value("workqueue_depth", {"lane": "NEW"}) == 1
    clock.now += 3
    job = await queue.get()
    assert value("workqueue_queue_duration_seconds_sum", {"lane": "URGENT"}) == 3
    clock.now += 4
    assert value("workqueue_longest_running_processor_seconds") == 4
    assert value("workqueue_active_workers") == 1
    queue.done(job.key)
    assert value("workqueue_longest_running_processor_seconds") == 0
    assert value("workqueue_adds_total", {"lane": "URGENT"}) == 1


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(list(Lane)), st.booleans()), max_size=40))
@settings(max_examples=60)
async def test_whatever_happens_no_key_is_lost_or_run_twice_at_once(steps: list[tuple[int, Lane, bool]]) -> None:
    """Each add is followed by a complete run of that key, whatever the order of adds and dones."""
    queue = make(bulk_limit=2)
    running: list[Key] = []
    added_at: dict[Key, int] = {}
    started_at: dict[Key, int] = {}
    tick = 0
    for number, lane, finish in steps:
        tick += 1
        queue.add(tenant(number), lane)
        added_at[tenant(number)] = tick
        if len(running) < 2:
            job = await asyncio.wait_for(queue.get(), 60) if not queue.idle() and queue.depth(lane) else None
            if job is not None:
                running.append(job.key)
                started_at[job.key] = tick
        assert max(Counter(running).values(), default=0) <= 1
        if finish and running:
            queue.done(running.pop(0))
    while running:
        queue.done(running.pop(0))
    tick += 1
    while not queue.idle():
        job = await asyncio.wait_for(queue.get(), 60)
        started_at[job.key] = tick
        queue.done(job.key)
    for key, added in added_at.items():
        assert started_at[key] >= added
