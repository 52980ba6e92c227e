"""All SQL of the audit log."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.audit.models import AuditEntry, AuditHead


class AuditRepository:
    """Reads and writes within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def lock_head(self) -> tuple[int, bytes]:
        """Number and hash of the last line; other writers wait until this transaction ends."""
        row = (await self._session.execute(select(AuditHead.number, AuditHead.hash).with_for_update())).one()
        return row[0], row[1]

    async def head(self) -> tuple[int, bytes]:
        """Number and hash of the last line."""
        row = (await self._session.execute(select(AuditHead.number, AuditHead.hash))).one()
        return row[0], row[1]

    async def append(self, entry: AuditEntry) -> None:
        """Insert the line and move the head to it."""
        self._session.add(entry)
        await self._session.flush()
        await self._session.execute(update(AuditHead).values(number=entry.number, hash=entry.hash))

    async def after(self, number: int, limit: int) -> Sequence[AuditEntry]:
        """Up to `limit` lines that follow line `number`, in their order."""
        statement = select(AuditEntry).where(AuditEntry.number > number).order_by(AuditEntry.number).limit(limit)
        return (await self._session.scalars(statement)).all()
