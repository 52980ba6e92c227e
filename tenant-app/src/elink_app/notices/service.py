"""Which notices an account has still to see, and its receipts.

Everybody sees notices; who has seen them is for readers of the audit log.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.permissions import Permission, Principal
from elink_app.audit.service import Actor, record
from elink_app.clock import JST, Clock
from elink_app.errors import Forbidden, NotFound, Unavailable
from elink_app.notices.models import NoticeReceipt
from elink_app.notices.repository import ReceiptRepository
from elink_app.notices.schemas import BothLanguages, NoticeOutput, Receipt
from elink_app.registry.connection import RegistryAway
from elink_app.registry.notices import Notice, NoticeReader

_RECEIPTS = 1000


@dataclass(frozen=True)
class Seen:
    """A notice and the account's own receipt, if it gave one."""

    notice: Notice
    receipt: Receipt | None

    @property
    def is_open(self) -> bool:
        """True while the account has still to see it."""
        return self.receipt is None and self.notice.withdrawn_at is None


class Notices:
    """The notices to one tenant, as one account sees them."""

    def __init__(
        self, session: AsyncSession, reader: NoticeReader, tenant: str, principal: Principal, actor: Actor, clock: Clock
    ) -> None:
        self._session = session
        self._receipts = ReceiptRepository(session)
        self._reader = reader
        self._tenant = tenant
        self._principal = principal
        self._actor = actor
        self._clock = clock

    async def all(self) -> list[Seen]:
        """Every notice, newest first; raises Unavailable while the registry is away."""
        try:
            notices = await self._reader.of(self._tenant, self._clock())
        except RegistryAway:
            raise Unavailable from None
        if not notices:
            return []
        mine = await self._receipts.mine(self._principal.account_id, [notice.id for notice in notices])
        return [Seen(one, to_receipt(mine[one.id]) if one.id in mine else None) for one in notices]

    async def open(self) -> list[Seen] | None:
        """What the account has still to see, incidents first; None while that cannot be known."""
        try:
            found = await self.all()
        except Unavailable:
            return None
        return sorted((one for one in found if one.is_open), key=lambda one: not one.notice.must_be_acknowledged)

    async def get(self, notice_id: str) -> Seen:
        """One notice; raises NotFound."""
        for one in await self.all():
            if one.notice.id == notice_id:
                return one
        raise NotFound

    async def sign(self, notice_id: str) -> Seen:
        """Give the account's receipt; a second one changes nothing. Raises NotFound."""
        found = await self.get(notice_id)
        kind = "acknowledged" if found.notice.must_be_acknowledged else "read"
        now, who = self._clock(), self._principal
        if await self._receipts.add(notice_id, who.account_id, self._actor.name, kind, now):
            verb = "acknowledge" if found.notice.must_be_acknowledged else "read"
            await record(
                self._session, self._actor, f"notice.{verb}", kind="notice", key=notice_id,
                after={"type": found.notice.type.value, "title": found.notice.title("ja")[:200]}, now=now,
            )  # fmt: skip
        return await self.get(notice_id)

    async def receipts(self, notice_id: str) -> list[Receipt]:
        """Who has seen a notice; raises Forbidden, NotFound."""
        if not self._principal.may(Permission.AUDIT_VIEW):
            raise Forbidden
        await self.get(notice_id)
        return [to_receipt(row) for row in await self._receipts.of_notice(notice_id, _RECEIPTS)]


def to_receipt(row: NoticeReceipt) -> Receipt:
    """A receipt as it is shown."""
    return Receipt(account_id=row.account_id, actor=row.actor, kind=row.kind, at=row.at.astimezone(JST))


def to_output(seen: Seen) -> NoticeOutput:
    """A notice as the API gives it."""
    one = seen.notice
    return NoticeOutput(
        id=one.id, type=one.type, severity=one.severity,
        title=BothLanguages(ja=one.title_ja, en=one.title_en), body=BothLanguages(ja=one.body_ja, en=one.body_en),
        starts_at=_jst(one.starts_at), detected_at=_jst(one.detected_at),
        published_at=one.published_at.astimezone(JST), withdrawn_at=_jst(one.withdrawn_at),
        must_be_acknowledged=one.must_be_acknowledged, receipt=seen.receipt,
    )  # fmt: skip


def _jst(moment: datetime | None) -> datetime | None:
    return moment.astimezone(JST) if moment is not None else None
