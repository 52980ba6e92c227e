"""The worker's task of deliveries: the clock's steps, the runs of one tenant, and what dead processes left behind."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.attachments.attachment import parse
from elink_app.attachments.files import REASON, AttachmentLost
from elink_app.clicks.repository import ClickRepository
from elink_app.clock import Clock
from elink_app.database.engines import TenantDatabases
from elink_app.database.errors import is_outage
from elink_app.deliveries.models import Delivery
from elink_app.deliveries.sending import Sending
from elink_app.deliveries.states import Category, after_quiet
from elink_app.mail.address import BadMailbox
from elink_app.mail.compose import Composer, Origin
from elink_app.mail.dkim import Signer
from elink_app.mail.placeholders import PlaceholderError
from elink_app.mail.smtp import Outcome
from elink_app.ops.servers import Stop
from elink_app.registry.connection import RegistryConnection
from elink_app.registry.directory import TenantDirectory
from elink_app.registry.pace import PaceTokens
from elink_app.registry.tenant import Tenant, TenantState
from elink_app.registry.wakeups import Wakeups
from elink_app.settings import Settings
from elink_app.telemetry.metrics import Metrics
from elink_app.transfer.store import FileStore
from elink_app.worker.attached import FILES_WAIT, AttachedFiles, FilesWait
from elink_app.worker.claiming import Job, Tools
from elink_app.worker.content import content_of
from elink_app.worker.delivery_results import result_of
from elink_app.worker.delivery_run import FOR_EVERYBODY, DeliveryRun
from elink_app.worker.domain_rates import DomainRates
from elink_app.worker.doubts import Doubts
from elink_app.worker.journal import Findings, Journal, Key, journals, orphan
from elink_app.worker.relay_pool import RelayPool
from elink_app.worker.signing import Signing

_LOOK_SECONDS = 0.5
_SWEEP_SECONDS = 30.0
_ORPHANS_SECONDS = 10.0
_STOP_PATIENCE = 8.0
_FIRST_BACK_OFF, _LAST_BACK_OFF = 2.0, 60.0
_MOST_RUNS = 4
_MOST_HELD = 5.0

log = structlog.get_logger("deliveries")


class _NotYet(Exception):
    """A part of a journal could not be written down. What was is told again next time, which changes nothing."""


@dataclass
class _Running:
    run: DeliveryRun
    task: asyncio.Task[None]
    attached: int


class DeliverySender:
    """A `TenantTask`. Several processes may run it at once: rows are leased, and every write is fenced by the claim."""

    name = "deliveries"

    def __init__(
        self,
        settings: Settings,
        directory: TenantDirectory,
        databases: TenantDatabases,
        registry: RegistryConnection,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self.files = AttachedFiles(FileStore(settings.tenants_dir))
        self._directory = directory
        self._wakeups = Wakeups(registry)
        self._clock = clock
        self._relay = settings.relay()
        pace = settings.domain_mails_per_minute
        journal = Journal(settings.journals)
        self._tools = Tools(
            databases.transaction,
            RelayPool(self._relay, settings.smtp_connections),
            journal,
            Doubts(journal),
            DomainRates(PaceTokens(registry, pace) if pace is not None else None),
            Signing(),
            metrics,
            clock,
            lambda tenant: directory.get(tenant.name) is None,
        )
        self._orphans = asyncio.Lock()
        self._orphans_at = float("-inf")
        self._relay_failures: dict[str, int] = defaultdict(int)

    async def close(self) -> None:
        """End connections, threads and the journal; after the last run."""
        await self._tools.pool.close()
        self._tools.signing.close()
        self._tools.journal.close()

    async def run(self, tenant: Tenant, stop: Stop) -> bool:
        """Send what is due; ends when nothing is, and asks to be woken when something will be."""
        if not self._settings.smtp_host:
            return False
        await self._adopt_orphans()
        await self._tools.domains.sweep()
        round_ = _Round(self, tenant, stop)
        try:
            while not stop.asked and self._is_active(tenant) and await round_.look():
                await round_.wait()
        finally:
            try:
                await round_.end()
            finally:
                if self._tools.gone(tenant):
                    self._tools.journal.forget(tenant.name)
                    self._tools.doubts.forget(tenant.name)
        due = round_.next_due()
        if due is not None and not stop.asked:
            await self._wakeups.wake(tenant.name, due)
        return False

    def _is_active(self, tenant: Tenant) -> bool:
        known = self._directory.get(tenant.name)
        return known is not None and known.state is TenantState.ACTIVE

    async def _adopt_orphans(self) -> None:
        """Write down what processes that are gone had done. Before anything is claimed: their rows look the same."""
        async with self._orphans:
            if time.monotonic() - self._orphans_at < _ORPHANS_SECONDS:
                return
            for path in journals(self._settings.journals):
                with suppress(_NotYet), orphan(path) as found:
                    if found is not None:
                        await self._adopt_each(found)
            self._orphans_at = time.monotonic()

    async def _adopt_each(self, found: Findings) -> None:
        """Tenant by tenant: one whose database is away keeps nobody else waiting. Raises _NotYet to keep the file."""
        late = False
        for name, part in found.by_tenant().items():
            try:
                await self._adopt(part)
            except Exception as error:
                late = True
                log.warning("journal not read yet; it is tried again", tenant=name, exc_info=error)
        if late:
            raise _NotYet

    async def _adopt(self, found: Findings) -> None:
        await self._unclaim(found)
        outcomes: dict[Key, tuple[Outcome, str]] = {key: (Outcome.UNSENT, "") for key in found.claimed}
        outcomes |= {key: (Outcome.UNKNOWN, "") for key in found.begun}
        outcomes |= {key: (Outcome(outcome), words) for key, (outcome, words) in found.answered.items()}
        by_delivery: dict[tuple[str, int], list[Key]] = defaultdict(list)
        for key in outcomes:
            by_delivery[key[:2]].append(key)
        for (name, delivery_id), keys in by_delivery.items():
            tenant = self._directory.get(name)
            if tenant is None:
                continue
            now = self._clock()
            async with self._tools.transaction(tenant) as db:
                sending = Sending(db)
                delivery = await sending.delivery(delivery_id)
                if delivery is None:
                    continue
                results = [
                    result_of(
                        key[2],
                        key[3],
                        *outcomes[key],
                        now=now,
                        started_at=delivery.started_at,
                        resend_unknown=delivery.resend_unknown,
                    )
                    for key in keys
                ]
                changed = await sending.record(delivery_id, results, now)
            unknown = sum(1 for key in keys if outcomes[key][0] is Outcome.UNKNOWN)
            log.info("journal read", tenant=name, delivery=delivery_id, rows=changed, unknown=unknown)

    async def _unclaim(self, found: Findings) -> None:
        """Claims in whose commit the process died; without this they would wait until their lease ends."""
        batches: dict[tuple[str, int, datetime], list[tuple[int, int]]] = defaultdict(list)
        for key, moment in found.claiming.items():
            batches[key[0], key[1], moment].append(key[2:])
        for (name, delivery_id, moment), rows in batches.items():
            tenant = self._directory.get(name)
            if tenant is None:
                continue
            async with self._tools.transaction(tenant) as db:
                freed = await Sending(db).unclaim(delivery_id, rows, moment, self._clock())
            log.info("claims given back", tenant=name, delivery=delivery_id, rows=freed)

    async def job(self, tenant: Tenant, delivery_id: int) -> Job | None:
        """What a run needs; `attached` of it is to be given back to `files`. Raises FilesWait.

        A delivery that cannot be composed is paused, with the reason.
        """
        attached, job = 0, None
        try:
            async with self._tools.transaction(tenant) as db:
                row = await Sending(db).delivery(delivery_id)
                if row is not None:
                    attached = self.files.reserve(parse(row.attachments))
                    job = await self._job(tenant, db, row, attached)
        except BaseException:
            self.files.give_back(attached)
            raise
        if job is None:
            self.files.give_back(attached)
        return job

    async def _job(self, tenant: Tenant, db: AsyncSession, row: Delivery, attached: int) -> Job | None:
        sending = Sending(db)
        secret = await sending.secret()
        key = await sending.dkim_key(row.from_address.rpartition("@")[2])
        try:
            signer = Signer(key.domain, key.selector, key.private_pem) if key is not None else None
            links = await ClickRepository(db).links(row.id) if row.count_clicks else {}
            files = await asyncio.to_thread(self.files.parts, tenant, parse(row.attachments))
            composer = Composer(row.id, content_of(row, links, files), self._origin(tenant, row, secret))
        except AttachmentLost as error:
            log.error("a file of a delivery is lost", tenant=tenant.name, delivery=row.id, file=str(error))
            await sending.pause(row.id, REASON, self._clock())
            return None
        except (BadMailbox, PlaceholderError, KeyError, ValueError) as error:
            log.error("delivery cannot be composed", tenant=tenant.name, delivery=row.id, why=type(error).__name__)
            await sending.pause(row.id, "cannot_compose", self._clock())
            return None
        needs_consent = row.category == Category.ADVERT
        return Job(tenant, row.id, composer, signer, row.started_at, row.resend_unknown, needs_consent, attached)

    def _origin(self, tenant: Tenant, row: Delivery, secret: bytes) -> Origin:
        frozen = row.frozen_at.isoformat() if row.frozen_at is not None else ""
        uid = tenant.uid or tenant.name
        return Origin(uid, secret, self._settings.tenant_url(tenant.host), self._settings.bounce_domain, frozen)

    @property
    def tools(self) -> Tools:
        """What the runs share."""
        return self._tools

    def now(self) -> datetime:
        """The time now."""
        return self._clock()

    def patience(self, stop: Stop) -> Callable[[], float]:
        """How long mails under way are waited for: little when the process has to end."""
        return lambda: _STOP_PATIENCE if stop.asked else self._relay.final_timeout

    def relay_back_off(self, tenant: Tenant, *, failed: bool) -> timedelta:
        """How long to leave the relay alone after a run."""
        if not failed:
            self._relay_failures.pop(tenant.name, None)
            return timedelta(0)
        self._relay_failures[tenant.name] += 1
        doubled: float = _FIRST_BACK_OFF * 2 ** min(self._relay_failures[tenant.name] - 1, 10)
        return timedelta(seconds=min(doubled, _LAST_BACK_OFF))


class _Round:
    """One tenant's deliveries while there is something to send."""

    def __init__(self, sender: DeliverySender, tenant: Tenant, stop: Stop) -> None:
        self._sender = sender
        self._tenant = tenant
        self._stop = stop
        self._running: dict[int, _Running] = {}
        self._not_before: dict[int, datetime] = {}
        self._swept_at = float("-inf")

    async def look(self) -> bool:
        """Make the clock's steps, begin and stop runs. False when nothing is left to do now."""
        await self._reap()
        now = self._sender.now()
        try:
            async with self._sender.tools.transaction(self._tenant) as db:
                sending = Sending(db)
                await sending.step_waiting(now)
                await self._sender.tools.doubts.settle(self._tenant.name, sending, now)
                await self._tidy(sending, now)
                moving = await sending.moving()
                waiting = {row.id: await sending.next_due(row.id) for row in moving if row.id not in self._running}
        except Exception as error:
            if not self._running or not is_outage(error):
                raise
            return True
        awake = {}
        for row in moving:
            begin = after_quiet(now, row.quiet_from, row.quiet_until)
            due = waiting.get(row.id)
            awake[row.id] = begin <= now
            self._not_before[row.id] = max(self._not_before.get(row.id, now), begin, due or now)
        for delivery_id, running in self._running.items():
            if not awake.get(delivery_id, False):
                running.run.stop()
        for gone in self._not_before.keys() - awake.keys():
            del self._not_before[gone]
        due_now = [one for one in awake if one not in self._running and self._not_before[one] <= now]
        for delivery_id in due_now[: _MOST_RUNS - len(self._running)]:
            await self._begin(delivery_id)
        return bool(self._running)

    async def wait(self) -> None:
        """Until the next look: half a second, or until a run ends."""
        tasks = [running.task for running in self._running.values()]
        asked = asyncio.create_task(self._stop.wait(_LOOK_SECONDS))
        await asyncio.wait([*tasks, asked], return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()

    async def end(self) -> None:
        """Stop every run and wait until it has written down what it did."""
        for running in self._running.values():
            running.run.stop()
        if self._running:
            await asyncio.wait([running.task for running in self._running.values()])
        await self._reap()

    def next_due(self) -> datetime | None:
        """When the first delivery that waits for a time wants to go on."""
        return min(self._not_before.values(), default=None)

    async def _tidy(self, sending: Sending, now: datetime) -> None:
        for delivery_id in await sending.ending():
            await sending.drop_cancelled(delivery_id, now)
            await sending.finish(delivery_id, now)
        if time.monotonic() - self._swept_at < _SWEEP_SECONDS:
            return
        self._swept_at = time.monotonic()
        for delivery_id in await sending.unfinished():
            if lost := await sending.sweep(delivery_id, now):
                log.warning("mails without a result", tenant=self._tenant.name, delivery=delivery_id, mails=lost)

    async def _begin(self, delivery_id: int) -> None:
        try:
            job = await self._sender.job(self._tenant, delivery_id)
        except FilesWait:
            self._not_before[delivery_id] = self._sender.now() + FILES_WAIT
            return
        if job is None:
            return
        run = DeliveryRun(self._sender.tools, job)
        task = asyncio.create_task(run.run(self._sender.patience(self._stop)), name=f"delivery {delivery_id}")
        self._running[delivery_id] = _Running(run, task, job.attached)

    async def _reap(self) -> None:
        """Runs that have ended: finish the delivery, or note when to go on."""
        for delivery_id, running in [(one, r) for one, r in self._running.items() if r.task.done()]:
            del self._running[delivery_id]
            self._sender.files.give_back(running.attached)
            error = running.task.exception()
            if error is not None and not is_outage(error):
                raise error
            if error is not None:
                # Also what is no outage of a database: a full disk under the journal.
                why = f"{type(error).__name__}: {error}"[:300]
                log.warning("sending is interrupted", tenant=self._tenant.name, delivery=delivery_id, why=why)
            now = self._sender.now()
            trouble = "database" if error is not None else running.run.trouble
            wait = self._sender.relay_back_off(self._tenant, failed=trouble == "relay")
            if trouble in ("allowance", "domains", "database"):
                wait = timedelta(seconds=1)
            if trouble == "domains":
                # Longer only when nothing else would be late: a mail that was put off may become due meanwhile.
                wait = max(wait, timedelta(seconds=min(self._sender.tools.domains.wait(self._tenant.name), _MOST_HELD)))
            async with self._sender.tools.transaction(self._tenant) as db:
                sending = Sending(db)
                if trouble in FOR_EVERYBODY:
                    await sending.pause(delivery_id, trouble, now)
                ended = await sending.finish(delivery_id, now)
            if ended:
                log.info("delivery done", tenant=self._tenant.name, delivery=delivery_id)
            self._not_before[delivery_id] = now + wait
