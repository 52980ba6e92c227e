"""How many bytes a tenant takes: its directory and its database. Measured now and then, not at each look."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from elink_app.clock import Clock

# Walking a directory of many files costs more than a figure on a page is worth.
HOLDS = timedelta(minutes=10)

Measure = Callable[[], Awaitable[int]]


class StorageMeter:
    """The last measurement of each tenant, in this process. Measured once at a time for each."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, tuple[datetime, int]] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def used(self, tenant: str, measure: Measure) -> int:
        """Bytes of the tenant, at most `HOLDS` old; `measure` is called when they are older."""
        async with self._locks[tenant]:
            now = self._clock()
            at, used = self._known.get(tenant, (None, 0))
            if at is None or now - at >= HOLDS:
                used = await measure()
                self._known[tenant] = now, used
            return used
