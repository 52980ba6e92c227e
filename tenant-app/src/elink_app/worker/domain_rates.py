"""A token bucket per destination domain, in this process: receivers slow down whoever comes too fast."""

from __future__ import annotations

import time
from collections.abc import Callable

_MOST_DOMAINS = 10_000
_BURST_SECONDS = 5.0


class DomainRates:
    """`per_minute` mails to each domain; None: as fast as it goes."""

    def __init__(self, per_minute: int | None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._per_second = None if per_minute is None else per_minute / 60
        self._monotonic = monotonic
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, domain: str) -> bool:
        """Take one token; False when the domain has to wait."""
        if self._per_second is None:
            return True
        tokens, now = self._tokens(domain), self._monotonic()
        taken = tokens >= 1
        self._buckets[domain] = (tokens - taken, now)
        return taken

    def held(self) -> list[str]:
        """The domains that have to wait now."""
        if self._per_second is None:
            return []
        if len(self._buckets) > _MOST_DOMAINS:
            self._buckets = {d: b for d, b in self._buckets.items() if self._tokens(d) < self._capacity()}
        return [domain for domain in self._buckets if self._tokens(domain) < 1]

    def _capacity(self) -> float:
        return max(1.0, (self._per_second or 0) * _BURST_SECONDS)

    def _tokens(self, domain: str) -> float:
        tokens, at = self._buckets.get(domain, (self._capacity(), self._monotonic()))
        return min(self._capacity(), tokens + (self._monotonic() - at) * (self._per_second or 0))
