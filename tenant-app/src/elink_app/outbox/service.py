"""Putting a mail into the outbox."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.outbox.models import OutboxMail
from elink_app.outbox.repository import OutboxRepository
from elink_app.text import has_refused_character


async def enqueue(
    db: AsyncSession,
    *,
    to: str,
    subject: str,
    text: str,
    html: str = "",
    kind: str,
    expires_at: datetime | None = None,
    headers: Mapping[str, str] | None = None,
) -> int:
    """Write a mail in the transaction `db`; the worker sends it after the commit (wake it: `Wakeups.wake`).

    Not sent any more after `expires_at`. Returns its id. ValueError when a header would hold a line break.
    """
    for value in (to, subject, *(headers or {}).values()):
        if has_refused_character(value):
            raise ValueError("a header holds a control character")
    mail = OutboxMail(
        kind=kind,
        recipient=to,
        subject=subject,
        text_body=text,
        html_body=html,
        expires_at=expires_at,
        headers=dict(headers or {}),
        attempts=0,
    )
    await OutboxRepository(db).add(mail)
    return mail.id
