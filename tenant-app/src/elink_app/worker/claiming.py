"""How a run gets its next batch of rows: within the plan's rate, still wanted, their domains not too fast."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.clock import Clock
from elink_app.consent.repository import ConsentRepository
from elink_app.deliveries.sending import Claimed, Result, Sending
from elink_app.deliveries.states import RecipientState
from elink_app.mail.compose import Composer
from elink_app.mail.dkim import Signer
from elink_app.registry.tenant import Tenant
from elink_app.telemetry.metrics import Metrics
from elink_app.worker.domain_rates import DomainRates, domain_of
from elink_app.worker.doubts import Doubts
from elink_app.worker.journal import Journal
from elink_app.worker.relay_pool import RelayPool
from elink_app.worker.signing import Signing

BATCH = 250

Transactions = Callable[[Tenant], AbstractAsyncContextManager[AsyncSession]]


@dataclass(frozen=True)
class Tools:
    """What all runs of a process share."""

    transaction: Transactions
    pool: RelayPool
    journal: Journal
    doubts: Doubts
    domains: DomainRates
    signing: Signing
    metrics: Metrics
    clock: Clock
    # The tenant is not in the registry any more: its database is gone, or about to go.
    gone: Callable[[Tenant], bool]


@dataclass(frozen=True)
class Job:
    """One delivery, as it was when this run began; its content cannot change meanwhile."""

    tenant: Tenant
    delivery_id: int
    composer: Composer
    signer: Signer | None
    started_at: datetime | None
    resend_unknown: bool
    # Adverts go only to those who have not withdrawn their consent since the audience was frozen.
    needs_consent: bool = False
    # Bytes of files that the composer holds, before they were encoded.
    attached: int = 0


@dataclass
class Batch:
    """What a claim got. Each row has taken one token of its domain."""

    rows: list[Claimed] = field(default_factory=list)
    # "" or why nothing can be claimed for a while: allowance, domains.
    trouble: str = ""
    # The delivery was paused, cancelled or ended.
    over: bool = False
    # Rows were due; domains that have to wait are known now.
    again: bool = False


async def claim(tools: Tools, job: Job, now: datetime) -> Batch:
    """The next batch; empty when nothing is due."""
    while True:
        batch, taken = Batch(), Counter[str]()
        try:
            await _Claim(tools, job, now, batch, taken).run()
        except BaseException:
            tools.doubts.add(job.tenant.name, job.delivery_id, _pairs(batch.rows), now)
            await tools.domains.give_back(taken)
            raise
        if batch.rows or not batch.again:
            return batch


@dataclass(frozen=True)
class _Claim:
    """One transaction. The journal knows of the claim before the commit: the process may die in it."""

    tools: Tools
    job: Job
    now: datetime
    batch: Batch
    taken: Counter[str]

    async def run(self) -> None:
        job, batch = self.job, self.batch
        async with self.tools.transaction(job.tenant) as db:
            sending = Sending(db)
            allowed = await sending.take_allowance(BATCH, job.tenant.limits.mails_per_hour, self.now)
            if not allowed:
                batch.trouble = "allowance"
                return
            consents = ConsentRepository(db)
            if self.tools.domains.limited:
                rows, unwanted = await self._within_pace(sending, consents, allowed)
            else:
                rows = await sending.claim(job.delivery_id, allowed, self.now)
                unwanted = await self._unwanted(consents, [row.email_key for row in rows])
            if not rows and not batch.again and not await sending.is_sending(job.delivery_id):
                batch.over = True
            skipped = [
                Result(row.id, row.attempts, RecipientState.SKIPPED, unwanted[row.email_key])
                for row in rows
                if row.email_key in unwanted
            ]
            batch.rows += [row for row in rows if row.email_key not in unwanted]
            await sending.record(job.delivery_id, skipped, self.now)
            if job.tenant.limits.mails_per_hour is not None:
                await sending.give_allowance(allowed - len(batch.rows))
            if batch.rows:
                self.tools.journal.claiming(job.tenant.name, job.delivery_id, _pairs(batch.rows), self.now)

    async def _within_pace(
        self, sending: Sending, consents: ConsentRepository, allowed: int
    ) -> tuple[list[Claimed], dict[str, str]]:
        """Rows whose domains gave a token each, those that are not wanted besides, and why they are not."""
        job, domains = self.job, self.tools.domains
        held = domains.held(job.tenant.name)
        due = await sending.lock_due(job.delivery_id, allowed, self.now, held)
        if not due and held:
            self.batch.trouble = "domains"
        unwanted = await self._unwanted(consents, [key for _, key in due])
        granted = await domains.take(job.tenant.name, [domain_of(key) for _, key in due if key not in unwanted])
        self.taken.update(granted)
        ids = []
        for row_id, key in due:
            if key in unwanted:
                ids.append(row_id)
            elif granted[domain_of(key)] > 0:
                granted[domain_of(key)] -= 1
                ids.append(row_id)
        self.batch.again = len(ids) < len(due)
        return await sending.claim_locked(job.delivery_id, ids, self.now), unwanted

    async def _unwanted(self, consents: ConsentRepository, keys: Sequence[str]) -> dict[str, str]:
        return await consents.unwanted(keys, adverts=self.job.needs_consent) if keys else {}


def _pairs(rows: Sequence[Claimed]) -> list[tuple[int, int]]:
    return [(row.id, row.attempts) for row in rows]
