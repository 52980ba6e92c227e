"""What is cleared away in one tenant's database from time to time. Every step may be repeated or missed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.repository import AccountRepository, ThrottleRepository
from elink_app.accounts.sessions import SessionPolicy, Sessions
from elink_app.accounts.throttle import FORGET_AFTER
from elink_app.addresses.erasing import erase, erase_expired_attributes, expired
from elink_app.clicks.repository import ClickRepository
from elink_app.clicks.rules import COUNTED_FOR
from elink_app.clock import Clock
from elink_app.consent.standing import judge_again
from elink_app.database.engines import TenantDatabases
from elink_app.duplicates.heirs import hand_on_results
from elink_app.jobs.repository import JobRepository
from elink_app.outbox.repository import OutboxRepository
from elink_app.passkeys.repository import ChallengeRepository
from elink_app.people.repository import PeopleRepository
from elink_app.registry.tenant import Tenant
from elink_app.security.repository import LinkRepository
from elink_app.sentforms.repository import SentFormRepository
from elink_app.telemetry.metrics import Metrics
from elink_app.tokens.repository import TokenRepository
from elink_app.utilities.repository import purge_utilities

# Long after any link has expired: until then the mark says why a link no longer works.
_SETUP_MARKS = timedelta(days=90)
# What is over is shown as over for a while.
_OVER = timedelta(days=30)
_SENT_MAILS = timedelta(days=30)
# Nobody presses a button again after that.
_SENT_FORMS = timedelta(days=1)
_BATCH = 500
# Longer than any transaction, and than the pause between two rounds.
_JUDGED_AGAIN = timedelta(hours=1)
_JUDGED_BATCH = 5000
# Longer than it takes to erase the rows of the largest delivery.
_CLICKS_ENDED = timedelta(days=7)
_CLICKS_BATCH = 5000

log = structlog.get_logger("housekeeping")


class Housekeeper:
    """Each kind in a transaction of its own, deletions in small batches: nobody waits for long behind it."""

    def __init__(
        self,
        databases: TenantDatabases,
        metrics: Metrics,
        clock: Clock,
        policy: SessionPolicy,
        undo_window: timedelta,
    ) -> None:
        self._databases = databases
        self._metrics = metrics
        self._clock = clock
        self._policy = policy
        self._undo_window = undo_window

    async def clean(self, tenant: Tenant) -> dict[str, int]:
        """Clear one tenant's database; returns how many rows of each kind went."""
        now = self._clock()
        async with self._databases.transaction(tenant) as db:
            gone = {"sessions": await Sessions(db, self._clock, self._policy).purge()}
        async with self._databases.transaction(tenant) as db:
            gone["throttle"] = await ThrottleRepository(db).purge(now - FORGET_AFTER)
            gone["setup_tokens"] = await AccountRepository(db).purge_setup_tokens(
                now - _SETUP_MARKS, tenant.setup_token_sha256
            )
            gone["links"] = await LinkRepository(db).purge(now - _OVER)
            gone["challenges"] = await ChallengeRepository(db).purge(now)
            gone["tokens"] = await TokenRepository(db).purge(now - _OVER)
            gone["sent_forms"] = await SentFormRepository(db).purge(now - _SENT_FORMS)
            gone["user_fields"] = await PeopleRepository(db).purge_fields(now - self._undo_window)
            gone["mails"] = await OutboxRepository(db).purge(now - _SENT_MAILS)
        gone["addresses"] = await self._in_batches(tenant, self._purge_addresses, _BATCH)
        async with self._databases.transaction(tenant) as db:
            gone["utilities"] = await purge_utilities(db, now - self._undo_window)
        gone["clicks"] = await self._end_clicks(tenant)
        gone["attribute_values"] = await self._in_batches(tenant, self._erase_attributes, _BATCH)
        await self._judge_again(tenant)
        for kind, count in gone.items():
            self._metrics.purged.labels(kind).inc(count)
        if any(gone.values()):
            log.info("cleared", tenant=tenant.name, **gone)
        return gone

    async def _end_clicks(self, tenant: Tenant) -> int:
        now = self._clock()
        async with self._databases.transaction(tenant) as db:
            await ClickRepository(db).end(now - COUNTED_FOR, now)
        return await self._in_batches(
            tenant, lambda db: ClickRepository(db).erase(now - _CLICKS_ENDED, _CLICKS_BATCH), _CLICKS_BATCH
        )

    async def _judge_again(self, tenant: Tenant) -> None:
        after, count = 0, _JUDGED_BATCH
        while count == _JUDGED_BATCH:
            async with self._databases.transaction(tenant) as db:
                after, count = await judge_again(db, self._clock() - _JUDGED_AGAIN, after, _JUDGED_BATCH)

    async def _purge_addresses(self, db: AsyncSession) -> int:
        if await JobRepository(db).under_way("utility-undo"):
            # It was asked for in time and may bring them back, however long it waited (of a suspended tenant).
            return 0
        ids = await expired(db, self._clock() - self._undo_window, _BATCH)
        if ids:
            await hand_on_results(db, ids)
            await erase(db, ids)
        return len(ids)

    async def _erase_attributes(self, db: AsyncSession) -> int:
        return await erase_expired_attributes(db, self._clock() - self._undo_window, _BATCH)

    async def _in_batches(self, tenant: Tenant, step: Callable[[AsyncSession], Awaitable[int]], size: int) -> int:
        """Repeat `step`, each time in a transaction of its own, until it finds less than a batch; how many in all."""
        total = 0
        while True:
            async with self._databases.transaction(tenant) as db:
                count = await step(db)
            total += count
            if count < size:
                return total
