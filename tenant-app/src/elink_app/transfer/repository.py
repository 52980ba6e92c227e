"""All SQL of imports and exports that is not a batch of addresses."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.jobs.models import Job
from elink_app.jobs.repository import OPEN, is_being_undone
from elink_app.transfer.columns import ATTRIBUTE, Target
from elink_app.transfer.models import BulkChange, ImportBadRow, ImportFile, ImportMapping

_TARGETS = frozenset(Target)
_MOST_COLUMN = 40


class TransferRepository:
    """Reads and writes within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, file: ImportFile) -> None:
        """Insert an uploaded file."""
        self._session.add(file)
        await self._session.flush()

    async def get(self, file_id: int) -> ImportFile | None:
        """One uploaded file."""
        return await self._session.get(ImportFile, file_id)

    async def newest(self, account_id: int | None, limit: int) -> Sequence[ImportFile]:
        """The newest files; of one account only unless `account_id` is None."""
        statement = select(ImportFile).order_by(ImportFile.id.desc()).limit(limit)
        if account_id is not None:
            statement = statement.where(ImportFile.account_id == account_id)
        return (await self._session.scalars(statement)).all()

    async def mapping(self, heading: str) -> Sequence[str] | None:
        """How columns under this heading were understood last."""
        found = await self._session.scalar(select(ImportMapping.columns).where(ImportMapping.heading == heading))
        return None if found is None else [one if ":" in one or one in _TARGETS else ATTRIBUTE + one for one in found]

    async def remember(self, heading: str, columns: Sequence[str], now: datetime) -> None:
        """Keep how columns under this heading are understood."""
        # The table holds a key of an own field, or its prefix with a short one: no target is as long as a long key.
        kept = [one if len(one) <= _MOST_COLUMN else one.removeprefix(ATTRIBUTE) for one in columns]
        values = {"heading": heading, "columns": kept, "updated_at": now}
        statement = insert(ImportMapping).values(values)
        await self._session.execute(statement.on_conflict_do_update(index_elements=["heading"], set_=values))

    async def lock_job(self, job_id: int) -> Job | None:
        """A job; nobody changes it before the end of the transaction."""
        return await self._session.scalar(select(Job).where(Job.id == job_id).with_for_update())

    async def bad_rows(self, job_id: int, after: int, limit: int) -> Sequence[tuple[int, list[str], list[Any]]]:
        """Refused rows with a number over `after`, in their order: number, cells, reasons."""
        statement = (
            select(ImportBadRow.number, ImportBadRow.cells, ImportBadRow.reasons)
            .where(ImportBadRow.job_id == job_id, ImportBadRow.number > after)
            .order_by(ImportBadRow.number)
            .limit(limit)
        )
        return [(row[0], row[1], row[2]) for row in await self._session.execute(statement)]

    async def count_changes(self, job_id: int) -> int:
        """How many addresses a job touched."""
        statement = select(func.count()).select_from(BulkChange).where(BulkChange.job_id == job_id)
        return await self._session.scalar(statement) or 0

    async def outdated(self, before: datetime) -> Sequence[ImportFile]:
        """Files that were uploaded before `before` and that no open job reads."""
        used = select(Job.id).where(Job.state.in_(OPEN), Job.parameters["file"].astext == ImportFile.file).exists()
        return (await self._session.scalars(select(ImportFile).where(ImportFile.created_at < before, ~used))).all()

    async def forget(self, file: ImportFile) -> None:
        """Delete the row of a file."""
        await self._session.delete(file)

    async def finished_exports(self, before: datetime) -> Sequence[Job]:
        """Exports that ended before `before` and still have their file."""
        statement = select(Job).where(Job.kind == "export", Job.finished_at < before, Job.result.has_key("file"))
        return (await self._session.scalars(statement)).all()

    async def prune_changes(self, before: datetime, limit: int) -> int:
        """Forget images of jobs that ended before `before`, `limit` at most. Returns how many.

        Those of one that is being undone stay until that is done, however long it waits.
        """
        old = (
            select(BulkChange.job_id, BulkChange.address_id)
            .join(Job, Job.id == BulkChange.job_id)
            .where(Job.finished_at < before, ~is_being_undone())
            .limit(limit)
            .subquery()
        )
        result = await self._session.execute(
            delete(BulkChange)
            .where(BulkChange.job_id == old.c.job_id, BulkChange.address_id == old.c.address_id)
            .returning(BulkChange.address_id)
        )
        return len(result.all())
