"""All SQL of sent forms."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.database.locks import alone_with
from elink_app.sentforms.models import SentForm


class SentFormRepository:
    """Reads and writes within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def lock(self, account_id: int) -> None:
        """The account's other forms wait until the end of the transaction: the same one sent twice at once, too."""
        await alone_with(self._session, f"sent-form-{account_id}")

    async def led_to(self, account_id: int, form_sha256: bytes) -> str | None:
        """Where the form led when the account sent it before."""
        statement = select(SentForm.led_to).where(
            SentForm.account_id == account_id, SentForm.form_sha256 == form_sha256
        )
        return await self._session.scalar(statement)

    async def push(self, account_id: int, form_sha256: bytes, led_to: str, now: datetime, keep: int) -> None:
        """Remember a form, and of the account no more than `keep`."""
        self._session.add(SentForm(account_id=account_id, form_sha256=form_sha256, led_to=led_to, sent_at=now))
        await self._session.flush()
        newest = select(SentForm.id).where(SentForm.account_id == account_id).order_by(SentForm.id.desc()).limit(keep)
        await self._session.execute(
            delete(SentForm).where(SentForm.account_id == account_id, SentForm.id.not_in(newest))
        )

    async def purge(self, before: datetime) -> int:
        """Forget forms that were sent before `before`. Returns how many."""
        statement = delete(SentForm).where(SentForm.sent_at < before).returning(SentForm.id)
        return len((await self._session.execute(statement)).all())
