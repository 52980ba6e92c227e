"""All SQL of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, String, cast, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from elink_app.jobs.models import Job, JobState

OPEN = (JobState.QUEUED.value, JobState.RUNNING.value)


def is_being_undone() -> ColumnElement[bool]:
    """Whether a job is open that takes this one back, as a part of another query: it needs what was kept for it."""
    undoing = aliased(Job)
    back = undoing.parameters["job"].astext == cast(Job.id, String)
    return select(undoing.id).where(undoing.state.in_(OPEN), back).exists()


class JobRepository:
    """Reads and writes within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, job: Job) -> None:
        """Insert a job."""
        self._session.add(job)
        await self._session.flush()

    async def get(self, job_id: int) -> Job | None:
        """The job with this id."""
        return await self._session.get(Job, job_id)

    async def newest(self, account_id: int | None, kinds: Sequence[str], limit: int) -> Sequence[Job]:
        """The newest jobs of these kinds; of one account only unless `account_id` is None."""
        statement = select(Job).where(Job.kind.in_(kinds)).order_by(Job.id.desc()).limit(limit)
        if account_id is not None:
            statement = statement.where(Job.account_id == account_id)
        return (await self._session.scalars(statement)).all()

    async def claim(self, kinds: Sequence[str], now: datetime, until: datetime, holder: str) -> int | None:
        """Lease the oldest open job that nobody holds; its id."""
        free = (
            select(Job.id)
            .where(Job.state.in_(OPEN), Job.kind.in_(kinds), Job.lease_until <= now)
            .order_by(Job.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        job_id = await self._session.scalar(free)
        if job_id is not None:
            await self._session.execute(
                update(Job).where(Job.id == job_id).values(lease_until=until, holder=holder, attempts=Job.attempts + 1)
            )
        return job_id

    async def held(self, job_id: int, holder: str) -> Job | None:
        """The open job, locked, when `holder` still has the lease."""
        statement = select(Job).where(Job.id == job_id, Job.holder == holder, Job.state.in_(OPEN)).with_for_update()
        return (await self._session.scalars(statement)).one_or_none()

    async def ask_to_cancel(self, job_id: int) -> bool:
        """Ask the worker to end an open job; False when it is over."""
        statement = (
            update(Job)
            .where(Job.id == job_id, Job.state.in_(OPEN))
            .values(cancel_asked=True)
            .execution_options(synchronize_session=False)
        )
        return await self._session.scalar(statement.returning(Job.id)) is not None

    async def under_way(self, kind: str) -> bool:
        """True while such a job waits or runs."""
        statement = select(Job.id).where(Job.kind == kind, Job.state.in_(OPEN)).limit(1)
        return await self._session.scalar(statement) is not None

    async def purge(self, before: datetime) -> int:
        """Forget jobs that ended before `before`. Returns how many."""
        statement = delete(Job).where(Job.finished_at < before).returning(Job.id)
        return len((await self._session.execute(statement)).all())
