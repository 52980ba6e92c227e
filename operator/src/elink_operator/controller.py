"""The leader's loop: workers that take keys from the queue, and the periodic look at everything."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Final, Protocol

import structlog
from structlog.contextvars import bound_contextvars

from elink_operator.cluster.errors import ClusterError, Conflict, NotLeader
from elink_operator.cluster.kinds import OURS
from elink_operator.cluster.store import Store
from elink_operator.database import DatabaseError
from elink_operator.metrics import Metrics
from elink_operator.triggers import KEY_KINDS, KINDS, key_of, lane_of
from elink_operator.workqueue import Job, Key, KeyKind, Lane, WorkQueue

log = structlog.get_logger()

_TICK: Final = 5.0


class Result(Protocol):
    """What a reconcile answers: when to look again, in seconds; None = at the next change or resync."""

    @property
    def requeue_after(self) -> float | None: ...


Reconcile = Callable[[str], Awaitable[Result]]


@dataclass(frozen=True, slots=True)
class Pace:
    """Number of workers; seconds between two looks at each object; seconds after which a run is cancelled."""

    workers: int = 32
    resync: float = 600
    run_timeout: float = 300


class Controller:
    """Runs reconciles. One instance works at a time in the cluster: the one that holds the Lease."""

    def __init__(
        self,
        queue: WorkQueue,
        store: Store,
        reconciles: Mapping[KeyKind, Reconcile],
        metrics: Metrics,
        pace: Pace | None = None,
    ) -> None:
        self._queue = queue
        self._store = store
        self._reconciles = reconciles
        self._metrics = metrics
        self._pace = pace or Pace()
        self._stopping = False

    async def run(self) -> None:
        """Look at everything once, then work until cancelled. Call when leader and with full caches."""
        self.seed()
        async with asyncio.TaskGroup() as group:
            for number in range(self._pace.workers):
                group.create_task(self._work(), name=f"worker-{number}")
            group.create_task(self._resync(), name="resync")

    def seed(self) -> None:
        """Enqueue every tenant and server: deletions and changes first, then the unready, then the rest."""
        for kind in OURS:
            for obj in self._store.all(kind):
                self._queue.add(key_of(kind, obj), lane_of(obj))

    async def drain(self, seconds: float) -> bool:
        """Take no new key and wait for the runs in progress; False when some did not end in time."""
        self._stopping = True
        try:
            async with asyncio.timeout(seconds):
                while self._queue.running:  # noqa: ASYNC110 - at most 15 s, once per process
                    await asyncio.sleep(0.05)
        except TimeoutError:
            return False
        return True

    async def _work(self) -> None:
        while True:
            job = await self._queue.get()
            try:
                if not self._stopping:
                    await self._run(job)
            finally:
                self._queue.done(job.key)
            if self._stopping:
                return

    async def _run(self, job: Job) -> None:
        kind, name = job.key
        started = monotonic()
        with bound_contextvars(**{kind: name}):
            try:
                async with asyncio.timeout(self._pace.run_timeout):
                    outcome = await self._reconciles[kind](name)
            except Exception as error:
                self._failed(job, error)
            else:
                self._queue.forget(job.key)
                self._metrics.reconciles.labels(kind, "success").inc()
                if outcome.requeue_after is not None:
                    self._queue.add_after(job.key, outcome.requeue_after, self._lane_again(job))
        self._metrics.reconcile_seconds.labels(kind).observe(monotonic() - started)

    def _failed(self, job: Job, error: Exception) -> None:
        at_least = getattr(error, "retry_after", None) or 0.0
        # Who lost a race did not come to the user's change: it overtakes the backlog once more.
        lost = isinstance(error, Conflict) and not self._queue.failures(job.key)
        lane = job.lane if lost else self._lane_again(job)
        seconds = self._queue.retry(job.key, lane, at_least=float(at_least))
        result = "conflict" if isinstance(error, Conflict) else "error"
        self._metrics.reconciles.labels(job.key[0], result).inc()
        first = self._queue.failures(job.key) == 1
        expected = isinstance(error, ClusterError | DatabaseError | TimeoutError)
        if isinstance(error, Conflict | NotLeader) and first:
            log.info("reconcile will be repeated", error=str(error), retry_seconds=round(seconds, 1))
        else:
            log.warning(
                "reconcile failed",
                error=str(error) or type(error).__name__,
                error_type=type(error).__name__,
                failures=self._queue.failures(job.key),
                retry_seconds=round(seconds, 1),
                exc_info=error if first and not expected else None,
            )

    def _lane_again(self, job: Job) -> Lane:
        """The lane of a repetition: urgent only while a user's change or deletion is not in effect."""
        if job.lane is not Lane.URGENT:
            return job.lane
        kind, name = job.key
        obj = self._store.get(KINDS[kind], None, name)
        return Lane.URGENT if obj is not None and lane_of(obj) is Lane.URGENT else Lane.NEW

    async def _resync(self) -> None:
        """Each key once per period, at a moment that depends on its name only: an even stream, no bursts."""
        period = self._pace.resync
        clock = monotonic
        before = clock()
        while True:
            await asyncio.sleep(min(_TICK, period / 10))
            now = clock()
            for kind in OURS:
                for name in self._store.names(kind):
                    key: Key = (KEY_KINDS[kind], name)
                    if is_due(key, before, now, period):
                        self._queue.add(key, Lane.RESYNC)
            before = now


def is_due(key: Key, after: float, until: float, period: float) -> bool:
    """Whether the key's moment, which comes once per `period` seconds, lies in (after, until]."""
    phase = zlib.crc32("/".join(key).encode()) / 2**32 * period
    return (until - phase) // period > (after - phase) // period


def progressing(queue: WorkQueue, pace: Pace) -> bool:
    """Whether no run is older than the time after which it should have been cancelled."""
    return queue.longest_running < pace.run_timeout + 30
