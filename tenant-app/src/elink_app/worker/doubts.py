"""Claims whose commit was not answered: nobody knows whether their rows are taken, and nobody sends them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from elink_app.deliveries.sending import Sending
from elink_app.worker.journal import Journal

# The server may still be about to commit when the connection breaks.
_DOUBTFUL = timedelta(minutes=1)

log = structlog.get_logger("deliveries")


@dataclass(frozen=True)
class _Doubt:
    tenant: str
    delivery_id: int
    rows: list[tuple[int, int]]
    moment: datetime


class Doubts:
    """Of this process. The journal keeps them as well, for the process after a kill -9."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._all: list[_Doubt] = []

    def add(self, tenant: str, delivery_id: int, rows: list[tuple[int, int]], moment: datetime) -> None:
        """These (recipient, attempt) may have been claimed at `moment`."""
        if rows:
            self._all.append(_Doubt(tenant, delivery_id, rows, moment))

    async def settle(self, tenant: str, sending: Sending, now: datetime) -> None:
        """Queue them again, at every call until a minute after the claim. Left alone they would end as unknown."""
        for doubt in [one for one in self._all if one.tenant == tenant]:
            if freed := await sending.unclaim(doubt.delivery_id, doubt.rows, doubt.moment, now):
                log.info("claims given back", tenant=tenant, delivery=doubt.delivery_id, rows=freed)
            if now - doubt.moment > _DOUBTFUL:
                self._all.remove(doubt)
                self._journal.settled((tenant, doubt.delivery_id, *pair) for pair in doubt.rows)

    def forget(self, tenant: str) -> None:
        """Its database is gone."""
        self._all = [one for one in self._all if one.tenant != tenant]
