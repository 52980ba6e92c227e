"""All SQL of the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, String, cast, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.audit.models import AuditEntry, AuditHead
from elink_app.audit.sight import Sight


@dataclass(frozen=True)
class Filter:
    """What is looked for; empty = everything. `until` is excluded."""

    text: str = ""
    actor: str = ""
    action: str = ""
    since: datetime | None = None
    until: datetime | None = None


def _holds(text: str) -> str:
    return "%" + text.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"


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

    async def search(
        self, wanted: Filter, sight: Sight, *, below: int | None, limit: int
    ) -> Sequence[Row[AuditEntry, Any, Any]]:
        """Up to `limit` matching lines with a number below `below`, newest first: line, `before` and `after`.

        What `sight` leaves out is not looked through either.
        """
        statement = select(AuditEntry, sight.before, sight.after).where(sight.lines)
        statement = statement.order_by(AuditEntry.number.desc()).limit(limit)
        if below is not None:
            statement = statement.where(AuditEntry.number < below)
        if wanted.since is not None:
            statement = statement.where(AuditEntry.at >= wanted.since)
        if wanted.until is not None:
            statement = statement.where(AuditEntry.at < wanted.until)
        if wanted.action:
            statement = statement.where(AuditEntry.action.startswith(wanted.action, autoescape=True))
        if wanted.actor:
            statement = statement.where(func.lower(AuditEntry.actor).like(_holds(wanted.actor)))
        if wanted.text:
            places = (AuditEntry.actor, AuditEntry.action, AuditEntry.kind, AuditEntry.key, AuditEntry.address)
            texts = [*places, cast(sight.before, String), cast(sight.after, String)]
            statement = statement.where(or_(*(func.lower(text).like(_holds(wanted.text)) for text in texts)))
        return (await self._session.execute(statement)).all()

    async def actions(self) -> Sequence[str]:
        """The actions that occur, by name."""
        return (await self._session.scalars(select(AuditEntry.action).distinct().order_by(AuditEntry.action))).all()
