"""What comes back about a mail, written to its row and to the suppression list."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.audit.service import SYSTEM, record
from elink_app.consent.service import Reason, suppress
from elink_app.deliveries.states import RecipientState
from elink_app.mail.reports import Report, ReportKind
from elink_app.mail.tokens import RecipientIds

# Only what left us can come back; a second report about one mail changes no count.
_BOUNCED = text("""
WITH old AS (
    SELECT delivery_id, id, state FROM delivery_recipient
    WHERE delivery_id = :delivery AND id = :recipient AND state IN ('accepted', 'unknown') FOR UPDATE
), changed AS (
    UPDATE delivery_recipient r SET state = 'bounced', reply = :words, updated_at = :now
    FROM old WHERE r.delivery_id = old.delivery_id AND r.id = old.id RETURNING old.state
)
UPDATE delivery SET bounced = bounced + 1,
    accepted = accepted - (SELECT count(*) FROM changed WHERE state = 'accepted'),
    unknown = unknown - (SELECT count(*) FROM changed WHERE state = 'unknown')
WHERE id = :delivery AND EXISTS (SELECT FROM changed)
""")
_NOTED = text("""
UPDATE delivery_recipient SET reply = :words, updated_at = :now
WHERE delivery_id = :delivery AND id = :recipient AND state = 'accepted'
""")
_MAIL = text("SELECT email_key, state FROM delivery_recipient WHERE delivery_id = :delivery AND id = :recipient")


class NotRecordedYet(Exception):
    """The relay is faster than the worker: that the mail left is not written down yet. The report has to come again."""


async def apply_report(db: AsyncSession, ids: RecipientIds, report: Report, now: datetime) -> bool:
    """Write down what a report says. False when there is no such mail any more. Raises NotRecordedYet."""
    row = {"delivery": ids.delivery_id, "recipient": ids.recipient_id}
    found = (await db.execute(_MAIL, row)).one_or_none()
    if found is None:
        return False
    email_key, state = found
    if state == RecipientState.SENDING and report.kind is not ReportKind.DELAYED:
        raise NotRecordedYet
    words = f"{report.status} {report.words}".strip() if not report.words.startswith(report.status) else report.words
    if report.kind is ReportKind.FAILED:
        await db.execute(_BOUNCED, {**row, "words": words, "now": now})
        if report.hard:
            await _suppress(db, email_key, Reason.BOUNCED, words, ids, now)
    elif report.kind is ReportKind.COMPLAINT:
        await db.execute(_NOTED, {**row, "words": f"complaint: {words}", "now": now})
        await _suppress(db, email_key, Reason.COMPLAINED, words, ids, now)
    elif report.kind is ReportKind.DELIVERED:
        await db.execute(_NOTED, {**row, "words": f"delivered: {words}", "now": now})
    return True


async def _suppress(
    db: AsyncSession, email_key: str, reason: Reason, words: str, ids: RecipientIds, now: datetime
) -> None:
    source = f"delivery {ids.delivery_id}"
    if await suppress(db, email_key, reason, words, source, now=now):
        after = {"reason": reason, "detail": words, "source": source}
        await record(db, SYSTEM, "suppression.add", kind="email", key=email_key, after=after, now=now)
