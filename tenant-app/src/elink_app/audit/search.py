"""Reading the log: pages and the export."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

import orjson
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.permissions import Principal
from elink_app.addresses.visibility import Action
from elink_app.audit.models import AuditEntry
from elink_app.audit.names import ACTIONS
from elink_app.audit.repository import AuditRepository, Filter
from elink_app.audit.schemas import AuditLine, AuditPage
from elink_app.audit.service import Actor, record
from elink_app.audit.sight import Sight, sight_of
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
    # The first day that there is begins before all times, in UTC.
    return datetime.combine(day, time(), JST) if day is not None and day > date.min else None


def _end(day: date | None) -> datetime | None:
    # The last day that there is has no day after it.
    return _start(day + timedelta(days=1)) if day is not None and day < date.max else None


async def page(
    db: AsyncSession, principal: Principal, query: Query, *, below: int | None = None, size: int = PAGE
) -> AuditPage:
    """Lines below number `below`, newest first."""
    sight = await sight_of(db, principal)
    rows = await AuditRepository(db).search(query.filter(), sight, below=below, limit=size + 1)
    items = [_line(row, sight) for row in rows[:size]]
    following = items[-1].number if len(rows) > size else None
    return AuditPage(items=items, next=following, complete=sight.complete)


async def actions(db: AsyncSession, *, complete: bool) -> Sequence[str]:
    """The actions that occur; all that there are, where some are not to be seen."""
    return await AuditRepository(db).actions() if complete else list(ACTIONS)


async def export(db: AsyncSession, principal: Principal, query: Query, actor: Actor, now: datetime) -> bytes:
    """The newest matching lines, 20,000 at most, as CSV in UTF-8 with a byte order mark. The export is a line too."""
    rows, below, lines = AuditRepository(db), None, 0
    sight = await sight_of(db, principal, Action.EXPORT)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(_COLUMNS)
    while lines < EXPORT_LINES:
        batch = await rows.search(query.filter(), sight, below=below, limit=min(_BATCH, EXPORT_LINES - lines))
        if not batch:
            break
        for row in batch:
            values = _line(row, sight).model_dump(mode="json")
            writer.writerow([_cell(values[name]) for name in _COLUMNS])
        lines, below = lines + len(batch), batch[-1][0].number
        db.expunge_all()
    await record(db, actor, "audit.export", kind="audit", after={"lines": lines}, now=now)
    return b"\xef\xbb\xbf" + out.getvalue().encode()


def _cell(value: object) -> str:
    text = "" if value is None else orjson.dumps(value).decode() if isinstance(value, dict) else str(value)
    return with_guard(text)


def _line(row: Row[AuditEntry, Any, Any], sight: Sight) -> AuditLine:
    entry, before, after = row
    return AuditLine(
        number=entry.number,
        at=entry.at.astimezone(JST),
        account_id=entry.account_id,
        actor=entry.actor,
        address=entry.address,
        action=entry.action,
        kind=entry.kind,
        key=entry.key,
        before=before,
        after=after,
        # With the hashes of the lines beside it, what a hidden line says could be guessed and proved.
        hash=entry.hash.hex() if sight.complete else None,
    )
