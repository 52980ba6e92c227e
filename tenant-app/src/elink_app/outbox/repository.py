"""All SQL of the outbox."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.outbox.models import OutboxMail


class OutboxRepository:
    """Reads and writes within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, mail: OutboxMail) -> None:
        """Insert a mail."""
        self._session.add(mail)
        await self._session.flush()

    async def claim(self, now: datetime, until: datetime) -> OutboxMail | None:
        """Take one mail that is due; nobody else takes it before `until`."""
        due = (
            select(OutboxMail)
            .where(OutboxMail.done_at.is_(None), OutboxMail.next_at <= now)
            .order_by(OutboxMail.next_at, OutboxMail.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        mail = (await self._session.scalars(due)).one_or_none()
        if mail is not None:
            mail.next_at = until
            mail.attempts += 1
            await self._session.flush()
        return mail

    async def finish(self, mail_id: int, now: datetime, *, sent: bool, error: str = "") -> None:
        """The mail has left, or was given up; its texts go."""
        await self._session.execute(
            update(OutboxMail)
            .where(OutboxMail.id == mail_id)
            .values(done_at=now, sent=sent, error=error, text_body="", html_body="", headers={}, attachments=[])
        )

    async def postpone(self, mail_id: int, until: datetime, error: str) -> None:
        """Try again at `until`."""
        await self._session.execute(
            update(OutboxMail).where(OutboxMail.id == mail_id).values(next_at=until, error=error)
        )

    async def some(self, mail_ids: Collection[int]) -> Sequence[OutboxMail]:
        """Those of these mails that are still kept, in their order."""
        statement = select(OutboxMail).where(OutboxMail.id.in_(mail_ids)).order_by(OutboxMail.id)
        return (await self._session.scalars(statement)).all()

    async def newest_given_up(self, account_ids: Collection[int], kind: str | None) -> Sequence[OutboxMail]:
        """Of each account the newest mail about it (of this kind), where that did not leave and never will."""
        newest = select(func.max(OutboxMail.id)).where(OutboxMail.account_id.in_(account_ids))
        if kind is not None:
            newest = newest.where(OutboxMail.kind == kind)
        statement = select(OutboxMail).where(
            OutboxMail.id.in_(newest.group_by(OutboxMail.account_id)),
            OutboxMail.done_at.is_not(None),
            OutboxMail.sent.is_(False),
        )
        return (await self._session.scalars(statement)).all()

    async def purge(self, before: datetime) -> int:
        """Forget mails that were done with before `before`. Returns how many."""
        statement = delete(OutboxMail).where(OutboxMail.done_at < before).returning(OutboxMail.id)
        return len((await self._session.execute(statement)).all())
