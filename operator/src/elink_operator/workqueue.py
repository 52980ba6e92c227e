"""The queue of keys to reconcile: each key once, never twice at a time, users before the backlog."""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from time import monotonic
from typing import Final, Literal

from elink_operator.metrics import Metrics

KeyKind = Literal["tenant", "server", "restore"]
Key = tuple[KeyKind, str]


class Lane(IntEnum):
    """Priority: a user's change or delete, a first creation (or a wait that ended), a periodic look."""

    URGENT = 0
    NEW = 1
    RESYNC = 2


_LONGEST_EXPONENT: Final = 16


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds before the n-th repetition: `min(longest, first * 2^n)` times a random factor of 0.5 to 1.5."""

    first: float = 1
    longest: float = 300

    def delay(self, failures: int, jitter: float) -> float:
        """The pause after `failures` (>= 1) failed runs in a row; `jitter` is 0..1."""
        exponent: int = min(failures - 1, _LONGEST_EXPONENT)
        return min(self.longest, self.first * float(1 << exponent)) * (0.5 + jitter)


@dataclass(frozen=True, slots=True)
class Job:
    """A key handed to a worker; give it back with `done`."""

    key: Key
    lane: Lane


class WorkQueue:
    """Like client-go's workqueue, with lanes. For one event loop; no method but `get` waits.

    A key that is added while it is waiting is not added again (but moves to the better lane); one that is added
    while it is worked on runs exactly once more afterwards. At most `bulk_limit` workers take keys of the lanes NEW
    and RESYNC, so that some are always free for URGENT ones.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        bulk_limit: int,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._metrics = metrics
        self._bulk_limit = bulk_limit
        self._backoff = backoff or Backoff()
        self._clock = clock
        self._jitter = jitter
        self._lanes: dict[Lane, deque[Key]] = {lane: deque() for lane in Lane}
        self._waiting: dict[Key, tuple[Lane, float]] = {}
        self._running: dict[Key, tuple[Lane, float]] = {}
        self._again: dict[Key, Lane] = {}
        self._timers: dict[Key, tuple[float, asyncio.TimerHandle]] = {}
        self._failures: dict[Key, int] = {}
        self._sleepers: deque[asyncio.Future[None]] = deque()
        self._publish()

    # -- producers ---------------------------------------------------------------------------------------

    def add(self, key: Key, lane: Lane) -> None:
        """Ask for a run as soon as a worker is free."""
        if key in self._running:
            self._again[key] = min(lane, self._again.get(key, lane))
            return
        waiting = self._waiting.get(key)
        if waiting is not None and waiting[0] <= lane:
            return
        since = self._clock() if waiting is None else waiting[1]
        self._waiting[key] = (lane, since)
        # In its old lane the key stays behind as a stale entry that `_take` skips.
        self._lanes[lane].append(key)
        self._metrics.queue_adds.labels(lane.name).inc()
        self._wake()

    def add_after(self, key: Key, seconds: float, lane: Lane) -> None:
        """Ask for a run in `seconds`, unless an earlier one is planned; any run that starts before cancels it."""
        due = self._clock() + seconds
        planned = self._timers.get(key)
        if planned is not None:
            if planned[0] <= due:
                return
            planned[1].cancel()
        handle = asyncio.get_running_loop().call_later(seconds, self._due, key, lane)
        self._timers[key] = (due, handle)

    def retry(self, key: Key, lane: Lane, at_least: float = 0) -> float:
        """Plan the repetition of a failed run by the back-off; returns the seconds until then."""
        self._failures[key] = self._failures.get(key, 0) + 1
        seconds = max(at_least, self._backoff.delay(self._failures[key], self._jitter()))
        self._metrics.queue_retries.inc()
        self.add_after(key, seconds, lane)
        return seconds

    def forget(self, key: Key) -> None:
        """The run succeeded: the next failure starts with the shortest pause."""
        self._failures.pop(key, None)

    def failures(self, key: Key) -> int:
        """Failed runs in a row."""
        return self._failures.get(key, 0)

    # -- workers -----------------------------------------------------------------------------------------

    async def get(self) -> Job:
        """The next key by lane and age; waits for one. Must be followed by `done`."""
        while True:
            job = self._take()
            if job is not None:
                return job
            sleeper = asyncio.get_running_loop().create_future()
            self._sleepers.append(sleeper)
            try:
                await sleeper
            except asyncio.CancelledError:
                # A wake-up that this worker can no longer use belongs to the next one.
                if sleeper.done() and not sleeper.cancelled():
                    self._wake()
                raise

    def done(self, key: Key) -> None:
        """The run is over (in whatever way); a key that was added meanwhile waits again."""
        del self._running[key]
        again = self._again.pop(key, None)
        if again is not None:
            self.add(key, again)
        # A place for the bulk lanes may have become free.
        self._wake()

    # -- state -------------------------------------------------------------------------------------------

    @property
    def longest_running(self) -> float:
        """Age in seconds of the oldest run in progress."""
        return max(self._ages(), default=0.0)

    @property
    def running(self) -> int:
        """Runs in progress."""
        return len(self._running)

    def depth(self, lane: Lane) -> int:
        """Keys that wait in a lane."""
        return sum(1 for waiting, _ in self._waiting.values() if waiting is lane)

    def idle(self) -> bool:
        """Nothing waits and nothing runs (planned repetitions do not count)."""
        return not self._waiting and not self._running

    def _take(self) -> Job | None:
        bulk = sum(1 for lane, _ in self._running.values() if lane is not Lane.URGENT)
        for lane, keys in self._lanes.items():
            if lane is not Lane.URGENT and bulk >= self._bulk_limit:
                return None
            while keys:
                key = keys.popleft()
                waiting = self._waiting.get(key)
                if waiting is not None and waiting[0] is lane:
                    return self._start(key, lane, waiting[1])
        return None

    def _start(self, key: Key, lane: Lane, since: float) -> Job:
        del self._waiting[key]
        planned = self._timers.pop(key, None)
        if planned is not None:
            planned[1].cancel()
        now = self._clock()
        self._running[key] = (lane, now)
        self._metrics.queue_wait.labels(lane.name).observe(max(0.0, now - since))
        return Job(key, lane)

    def _due(self, key: Key, lane: Lane) -> None:
        self._timers.pop(key, None)
        self.add(key, lane)

    def _wake(self) -> None:
        while self._sleepers:
            sleeper = self._sleepers.popleft()
            if not sleeper.done():
                sleeper.set_result(None)
                return

    def _ages(self) -> list[float]:
        now = self._clock()
        return [now - started for _, started in self._running.values()]

    def _publish(self) -> None:
        metrics = self._metrics
        metrics.queue_unfinished.set_function(lambda: sum(self._ages()))
        metrics.queue_longest.set_function(lambda: self.longest_running)
        metrics.queue_active.set_function(lambda: len(self._running))
        for lane in Lane:
            metrics.queue_depth.labels(lane.name).set_function(partial(self.depth, lane))
