"""The rules: what is recorded stays; whoever unsubscribed comes back by a new consent only."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.audit.service import Actor, record
from elink_app.clock import JST, Clock
from elink_app.consent.models import ConsentEntry, Reason, Suppression
from elink_app.consent.repository import ConsentRepository
from elink_app.consent.schemas import (
    ConsentInput,
    ConsentOutput,
    EmailState,
    SuppressionOutput,
    SuppressionPage,
)
from elink_app.emails import email_key
from elink_app.errors import InvalidInput, NotFound
from elink_app.validation import field_error

_HISTORY = 100
_PAGE = 50
_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)


class Consents:
    """Consents and suppressions of one tenant within one transaction."""

    def __init__(self, session: AsyncSession, clock: Clock) -> None:
        self._session = session
        self._rows = ConsentRepository(session)
        self._clock = clock

    async def of(self, email: str) -> EmailState:
        """All that is on record for an e-mail."""
        key = email_key(email)
        entries = await self._rows.history(key, _HISTORY)
        return EmailState(
            email=email,
            consent=entries[0].given if entries else None,
            history=[_consent(entry) for entry in entries],
            suppressions=[_suppression(row) for row in await self._rows.active(key)],
        )

    async def record(self, data: ConsentInput, actor: Actor) -> EmailState:
        """Append to the ledger. A consent that was given anew lifts `unsubscribed`; raises InvalidInput for a date
        in the future or before 1990."""
        now = self._clock()
        occurred = data.occurred_at or now
        if occurred.tzinfo is None:
            occurred = occurred.replace(tzinfo=JST)
        if not _EARLIEST <= occurred <= now:
            raise InvalidInput([field_error(("occurred_at",), "moment_past")])
        key = email_key(data.email)
        await self._rows.add(
            ConsentEntry(
                email_key=key, given=data.given, how=data.how, source=data.source, wording=data.wording,
                occurred_at=occurred, recorded_at=now, recorded_by=actor.name,
            )
        )  # fmt: skip
        if data.given:
            for row in await self._rows.active(key):
                # Only by a later word of the same person: an old paper does not undo a new refusal.
                if row.reason == Reason.UNSUBSCRIBED and occurred > row.since:
                    await self._rows.lift(row.id, now, actor.name, f"consent: {data.how}"[:300])
        action = "consent.give" if data.given else "consent.withdraw"
        await record(
            self._session, actor, action, kind="email", key=key, after={"how": data.how, "at": occurred}, now=now
        )
        return await self.of(data.email)

    async def suppress(self, email: str, reason: Reason, detail: str, source: str, actor: Actor) -> bool:
        """No more mail to this e-mail; False when it was so for this reason already."""
        now, key = self._clock(), email_key(email)
        row = Suppression(email_key=key, reason=reason.value, detail=detail, source=source, since=now)
        if not await self._rows.suppress(row):
            return False
        after = {"reason": reason, "detail": detail}
        await record(self._session, actor, "suppression.add", kind="email", key=key, after=after, now=now)
        return True

    async def lift(self, suppression_id: int, why: str, actor: Actor) -> SuppressionOutput:
        """Mail may go there again. Raises NotFound, and InvalidInput for a refusal by the person: that is final
        until a new consent is recorded."""
        row = await self._rows.get(suppression_id)
        if row is None or row.lifted_at is not None:
            raise NotFound
        if row.reason in (Reason.UNSUBSCRIBED, Reason.COMPLAINED):
            raise InvalidInput([field_error(("why",), "suppression_final")])
        now = self._clock()
        lifted = await self._rows.lift(suppression_id, now, actor.name, why)
        if lifted is None:
            raise NotFound
        after = {"reason": lifted.reason, "why": why}
        await record(self._session, actor, "suppression.lift", kind="email", key=lifted.email_key, after=after, now=now)
        return _suppression(lifted)

    async def page(self, reason: Reason | None, text: str, cursor: str) -> SuppressionPage:
        """The list, the newest first; raises InvalidInput for a cursor that is not ours."""
        before = _decode(cursor) if cursor else None
        rows = await self._rows.page(reason=reason, text=email_key(text), before=before, limit=_PAGE + 1)
        more = len(rows) > _PAGE
        shown = rows[:_PAGE]
        return SuppressionPage(
            items=[_suppression(row) for row in shown],
            next=_encode(shown[-1].since, shown[-1].id) if more else None,
        )


def _consent(entry: ConsentEntry) -> ConsentOutput:
    return ConsentOutput(
        id=entry.id, given=entry.given, how=entry.how, source=entry.source, wording=entry.wording,
        occurred_at=entry.occurred_at.astimezone(JST), recorded_at=entry.recorded_at.astimezone(JST),
        recorded_by=entry.recorded_by,
    )  # fmt: skip


def _suppression(row: Suppression) -> SuppressionOutput:
    return SuppressionOutput(
        id=row.id, email=row.email_key, reason=Reason(row.reason), detail=row.detail, source=row.source,
        since=row.since.astimezone(JST),
    )  # fmt: skip


def _encode(since: datetime, row_id: int) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([since.isoformat(), row_id])).decode().rstrip("=")


def _decode(cursor: str) -> tuple[datetime, int]:
    try:
        since, row_id = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        moment = datetime.fromisoformat(since)
        if type(row_id) is not int or not 0 < row_id < 2**63 or moment.tzinfo is None:
            raise ValueError(cursor)
    except (binascii.Error, ValueError, TypeError) as error:
        raise InvalidInput([field_error(("cursor",), "cursor")]) from error
    return moment, row_id
