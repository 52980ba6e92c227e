"""Reading the log: pages and the export."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.audit.models import AuditEntry
from elink_app.audit.repository import AuditRepository, Filter
from elink_app.audit.schemas import AuditLine, AuditPage
from elink_app.audit.service import Actor, record
from elink_app.clock import JST
from elink_app.spreadsheet import with_guard

PAGE = 50
EXPORT_LINES = 20_000
_BATCH = 2000
_COLUMNS = ("number", "at", "actor", "address", "action", "kind", "key", "before", "after", "hash")


@dataclass(frozen=True)
class Query:
    """What is asked for; the days are whole days in JST, both included."""

    text: str = ""
    actor: str = ""
    action: str = ""
    since: date | None = None
    until: date | None = None

    def filter(self) -> Filter:
        """The same for the repository."""
        return Filter(self.text.strip(), self.actor.strip(), self.action.strip(), _start(self.since), _end(self.until))


def _start(day: date | None) -> datetime | None:
    return datetime.combine(day, time(), JST) if day is not None else None


def _end(day: date | None) -> datetime | None:
    # The last day that there is has no day after it.
    return _start(day + timedelta(days=1)) if day is not None and day < date.max else None


async def page(db: AsyncSession, query: Query, *, below: int | None = None, size: int = PAGE) -> AuditPage:
    """Lines below number `below`, newest first."""
    rows = await AuditRepository(db).search(query.filter(), below=below, limit=size + 1)
    shown = rows[:size]
    return AuditPage(items=[_line(row) for row in shown], next=shown[-1].number if len(rows) > size else None)


async def actions(db: AsyncSession) -> Sequence[str]:
    """The actions that occur."""
    return await AuditRepository(db).actions()


async def export(db: AsyncSession, query: Query, actor: Actor, now: datetime) -> bytes:
    """The newest matching lines, 20,000 at most, as CSV in UTF-8 with a byte order mark. The export is a line too."""
    rows, below, lines = AuditRepository(db), None, 0
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(_COLUMNS)
    while lines < EXPORT_LINES:
        batch = await rows.search(query.filter(), below=below, limit=min(_BATCH, EXPORT_LINES - lines))
        if not batch:
            break
        for entry in batch:
            values = _line(entry).model_dump(mode="json")
            writer.writerow([_cell(values[name]) for name in _COLUMNS])
        lines, below = lines + len(batch), batch[-1].number
        db.expunge_all()
    await record(db, actor, "audit.export", kind="audit", after={"lines": lines}, now=now)
    return b"\xef\xbb\xbf" + out.getvalue().encode()


def _cell(value: object) -> str:
    text = "" if value is None else orjson.dumps(value).decode() if isinstance(value, dict) else str(value)
    return with_guard(text)


def _line(entry: AuditEntry) -> AuditLine:
    return AuditLine(
        number=entry.number,
        at=entry.at.astimezone(JST),
        account_id=entry.account_id,
        actor=entry.actor,
        address=entry.address,
        action=entry.action,
        kind=entry.kind,
        key=entry.key,
        before=entry.before,
        after=entry.after,
        hash=entry.hash.hex(),
    )
