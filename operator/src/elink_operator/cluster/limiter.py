"""How fast the operator writes: a token bucket whose rate halves when the API server says 429."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Final

_FLOOR: Final = 5.0
_RECOVERY: Final = 0.05


class WriteLimiter:
    """Token bucket with AIMD: each 429 halves the rate (not below 5/s), each quiet second returns 5 % of it.

    `rate` is writes per second, `burst` how many may come at once after a rest.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = monotonic) -> None:
        self._full = rate
        self._rate = rate
        self._burst = float(burst)
        self._clock = clock
        self._tokens = float(burst)
        self._filled_at: float | None = None
        self._closed_until = 0.0
        self._turn = asyncio.Lock()

    @property
    def rate(self) -> float:
        """Writes per second that are allowed now."""
        return self._rate

    async def acquire(self) -> None:
        """Wait for permission for one write, in order of arrival."""
        async with self._turn:
            while (wait := self._wait()) > 0:  # noqa: ASYNC110 - time is what it waits for
                await asyncio.sleep(wait)
            self._tokens -= 1

    def throttled(self, retry_after: float) -> None:
        """The server answered 429: halve the rate, no write for `retry_after` seconds."""
        self._refill()
        self._rate = max(min(_FLOOR, self._full), self._rate / 2)
        self._closed_until = max(self._closed_until, self._clock() + retry_after)

    def _wait(self) -> float:
        self._refill()
        closed = self._closed_until - self._clock()
        if closed > 0:
            return closed
        return 0.0 if self._tokens >= 1 else (1 - self._tokens) / self._rate

    def _refill(self) -> None:
        now = self._clock()
        passed = 0.0 if self._filled_at is None else now - self._filled_at
        self._filled_at = now
        self._tokens = min(self._burst, self._tokens + passed * self._rate)
        if now >= self._closed_until:
            self._rate = min(self._full, self._rate + passed * self._full * _RECOVERY)
