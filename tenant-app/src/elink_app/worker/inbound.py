"""Bounces and complaints: mail to `b-<token>@<bounce domain>`, received by the worker itself.

A server of its own and not a mailbox to poll: the token is checked before a byte of the message is taken, an unknown
address is refused in the dialogue (no backscatter), and there is no other program to run, patch and empty.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

import structlog

from elink_app.clock import Clock
from elink_app.database.errors import is_outage
from elink_app.deliveries.bounces import NotRecordedYet, apply_report
from elink_app.deliveries.sending import Sending
from elink_app.mail.reports import read_report
from elink_app.mail.smtp_server import TryLater
from elink_app.mail.tokens import RecipientIds, bounce_mark, read_bounce, tenant_mark
from elink_app.registry.directory import TenantDirectory
from elink_app.registry.tenant import Tenant, TenantState
from elink_app.telemetry.metrics import Metrics
from elink_app.worker.claiming import Transactions

_SECRETS_KEPT = 500

log = structlog.get_logger("inbound")


class BounceMailboxes:
    """The `Mailboxes` of all tenants' deliveries."""

    def __init__(
        self,
        domain: str,
        directory: TenantDirectory,
        transaction: Transactions,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._domain = domain.lower()
        self._directory = directory
        self._transaction = transaction
        self._metrics = metrics
        self._clock = clock
        self._secrets: OrderedDict[str, bytes] = OrderedDict()
        directory.on_change(self._changed)

    async def knows(self, address: str) -> bool:
        """True for the sender address of a mail that a tenant of this server sent. Raises TryLater."""
        return await self._resolve(address) is not None

    async def deliver(self, address: str, data: bytes) -> None:
        """Write down what the mail reports; what is no report (an absence notice) is dropped. Raises TryLater."""
        found = await self._resolve(address)
        if found is None:
            return
        tenant, ids = found
        report = await asyncio.to_thread(read_report, data)
        self._metrics.inbound.labels(report.kind if report is not None else "other").inc()
        if report is None:
            return
        try:
            async with self._transaction(tenant) as db:
                known = await apply_report(db, ids, report, self._clock())
        except NotRecordedYet as error:
            raise TryLater from error
        except Exception as error:
            raise _later(error) from error
        log.info("report", tenant=tenant.name, delivery=ids.delivery_id, kind=report.kind, known=known)

    async def _resolve(self, address: str) -> tuple[Tenant, RecipientIds] | None:
        local, _, domain = address.rpartition("@")
        mark = bounce_mark(local)
        if domain.lower() != self._domain or mark is None:
            return None
        if not self._directory.loaded:
            raise TryLater  # nobody is known yet, which makes no report a stranger's
        for tenant in self._directory.all():
            # A cancelled customer's database is about to be erased.
            if tenant.state is TenantState.CANCELLED or tenant_mark(tenant.uid or tenant.name) != mark:
                continue
            if tenant.state is TenantState.MAINTENANCE:
                raise TryLater  # what is written now could be lost with the database that is exchanged
            ids = read_bounce(await self._secret(tenant), local)
            if ids is not None:
                return tenant, ids
        return None

    def _changed(self, old: Tenant | None, _new: Tenant | None) -> None:
        """Read the key again: a restore (which closes the tenant for its time) may have brought another."""
        if old is not None:
            self._secrets.pop(_key(old), None)

    async def _secret(self, tenant: Tenant) -> bytes:
        key = _key(tenant)
        if key not in self._secrets:
            try:
                async with self._transaction(tenant) as db:
                    self._secrets[key] = await Sending(db).secret()
            except Exception as error:
                raise _later(error) from error
            while len(self._secrets) > _SECRETS_KEPT:
                self._secrets.popitem(last=False)
        return self._secrets[key]


def _key(tenant: Tenant) -> str:
    return f"{tenant.uid}/{tenant.database}"


def _later(error: Exception) -> TryLater:
    """Whatever it was: the other side keeps the report and comes again."""
    if not is_outage(error):
        log.error("report not written", exc_info=error)
    return TryLater()
