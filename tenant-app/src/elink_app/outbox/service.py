"""Putting a mail into the outbox."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.attachments.attachment import Attachment, dump
from elink_app.clock import JST
from elink_app.outbox.models import OutboxMail
from elink_app.outbox.repository import OutboxRepository
from elink_app.outbox.results import reason_of
from elink_app.outbox.schemas import MailState, SentMail, UndeliveredMail
from elink_app.text import has_refused_character


async def enqueue(
    db: AsyncSession,
    *,
    to: str,
    subject: str,
    text: str,
    html: str = "",
    kind: str,
    account_id: int | None = None,
    expires_at: datetime | None = None,
    headers: Mapping[str, str] | None = None,
    attachments: Sequence[Attachment] = (),
) -> int:
    """Write a mail in the transaction `db`; the worker sends it after the commit (wake it: `Wakeups.wake`).

    `account_id`: whose account it is about. Not sent any more after `expires_at`. Returns its id. ValueError when a
    header would hold a line break.
    """
    for value in (to, subject, *(headers or {}).values()):
        if has_refused_character(value):
            raise ValueError("a header holds a control character")
    mail = OutboxMail(
        kind=kind,
        account_id=account_id,
        recipient=to,
        subject=subject,
        text_body=text,
        html_body=html,
        expires_at=expires_at,
        headers=dict(headers or {}),
        attachments=dump(attachments),
        attempts=0,
    )
    await OutboxRepository(db).add(mail)
    return mail.id


async def became_of(db: AsyncSession, mail_ids: Collection[int]) -> Sequence[SentMail]:
    """What became of these mails; those that are done with are kept for some days only."""
    return [_sent_mail(mail) for mail in await OutboxRepository(db).some(mail_ids)] if mail_ids else []


def _sent_mail(mail: OutboxMail) -> SentMail:
    reason, reply = reason_of(mail.error)
    state = MailState.WAITING if mail.done_at is None else MailState.SENT if mail.sent else MailState.GIVEN_UP
    return SentMail(
        to=mail.recipient,
        state=state,
        at=mail.done_at.astimezone(JST) if mail.done_at is not None else None,
        reason=reason if state is MailState.GIVEN_UP else None,
        reply=reply,
    )


async def undelivered(
    db: AsyncSession, account_ids: Collection[int], kind: str | None = None
) -> dict[int, UndeliveredMail]:
    """By account, the newest mail (of this kind) about it, if that was given up: a newer one says that all is well."""
    found = {}
    for mail in await OutboxRepository(db).newest_given_up(account_ids, kind):
        if mail.account_id is not None and mail.done_at is not None:
            reason, reply = reason_of(mail.error)
            at = mail.done_at.astimezone(JST)
            found[mail.account_id] = UndeliveredMail(kind=mail.kind, at=at, reason=reason, reply=reply)
    return found
