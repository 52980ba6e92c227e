"""From what the relay said to what is written down, and the grouped writing of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import structlog

from elink_app.database.errors import is_outage
from elink_app.deliveries.sending import Result
from elink_app.deliveries.states import RecipientState
from elink_app.mail.smtp import Outcome

_GROUP = 250
_GROUP_SECONDS = 0.2
_RETRY_SECONDS = 0.5
_MINUTES = (1, 5, 15, 30, 60, 120, 240)
GIVE_UP_AFTER = timedelta(hours=48)
_FEWEST_ATTEMPTS = 5

log = structlog.get_logger("deliveries")


def back_off(attempts: int) -> timedelta:
    """How long a deferred mail waits after its attempt of this number."""
    return timedelta(minutes=_MINUTES[min(attempts, len(_MINUTES)) - 1])


def result_of(
    recipient: int,
    attempts: int,
    outcome: Outcome,
    words: str,
    *,
    now: datetime,
    started_at: datetime | None,
    resend_unknown: bool,
) -> Result:
    """What an outcome means for the row. A mail is deferred for 48 hours at most."""
    if outcome is Outcome.ACCEPTED:
        return Result(recipient, attempts, RecipientState.ACCEPTED, words)
    if outcome is Outcome.REFUSED:
        return Result(recipient, attempts, RecipientState.REFUSED, words)
    if outcome is Outcome.DEFERRED:
        begun = started_at or now
        if now - begun >= GIVE_UP_AFTER and attempts >= _FEWEST_ATTEMPTS:
            return Result(recipient, attempts, RecipientState.REFUSED, words)
        return Result(recipient, attempts, RecipientState.DEFERRED, words, now + back_off(attempts))
    if outcome is Outcome.UNKNOWN and not resend_unknown:
        return Result(recipient, attempts, RecipientState.UNKNOWN, words)
    if outcome is Outcome.UNKNOWN:
        return Result(recipient, attempts, RecipientState.DEFERRED, words, now + back_off(1))
    return Result(recipient, attempts, RecipientState.QUEUED, words, now)


class ResultWriter:
    """Collects results and writes them in groups, again and again until the database has taken them.

    `gone()`: there is no such database any more.
    """

    def __init__(self, write: Callable[[Sequence[Result]], Awaitable[None]], gone: Callable[[], bool]) -> None:
        self._write = write
        self._gone = gone
        self._waiting: list[Result] = []
        self._enough = asyncio.Event()
        self._closing = False
        # While the database is away nothing new may be begun.
        self.stalled = False

    def add(self, result: Result) -> None:
        """Take a result; it is written within a fifth of a second."""
        self._waiting.append(result)
        if len(self._waiting) >= _GROUP:
            self._enough.set()

    async def run(self) -> None:
        """Write until `close`; then what is left, and end."""
        while self._waiting or not self._closing:
            if not self._closing:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_GROUP_SECONDS):
                        await self._enough.wait()
            self._enough.clear()
            group, self._waiting = self._waiting[:_GROUP], self._waiting[_GROUP:]
            if len(self._waiting) >= _GROUP:
                self._enough.set()
            if group:
                await self._store(group)

    def close(self) -> None:
        """No more results will come."""
        self._closing = True
        self._enough.set()

    async def _store(self, group: list[Result]) -> None:
        while True:
            try:
                await self._write(group)
            except Exception as error:
                if not is_outage(error):
                    raise
                if not self.stalled:
                    log.warning("results wait for the database", results=len(group), why=type(error).__name__)
                self.stalled = True
                if self._gone():
                    return
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                self.stalled = False
                return
