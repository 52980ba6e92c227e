"""Does the jobs of a tenant: a lease, then batch after batch, each with its cursor in one transaction."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.audit.service import Actor, record
from elink_app.clock import Clock
from elink_app.database.engines import TenantDatabases
from elink_app.database.errors import is_outage
from elink_app.jobs.models import Job, JobState
from elink_app.jobs.repository import JobRepository
from elink_app.messages import N_, Message
from elink_app.ops.servers import Stop
from elink_app.registry.tenant import Tenant

LEASE = timedelta(seconds=60)
_MOST_ATTEMPTS = 5
"""A job that brings its process down so often is given up."""

log = structlog.get_logger("jobs")


_UNEXPECTED = Message(N_("The work ended with an unexpected error. What was done before it stays."))
_INTERRUPTED = Message(N_("The work was interrupted too often. What was done before stays."))


class JobFailed(Exception):
    """The work cannot be done, and repeating it would not help. The message is for the person who asked for it."""

    def __init__(self, message: Message, **result: object) -> None:
        super().__init__(message.msgid)
        self.message = message
        self.result = result


@dataclass(frozen=True)
class Batch:
    """What a handler works with: the job's row is locked, and everything is in the transaction `db`."""

    tenant: Tenant
    db: AsyncSession
    job: Job


class JobHandler(Protocol):
    """One kind of work."""

    async def step(self, batch: Batch) -> bool:
        """Do the next part and move `job.cursor`, `done` and `result`; True when all is done.

        Raises JobFailed. A step that was rolled back is done again from the cursor before it.
        """
        ...

    def forget(self, tenant: Tenant, job_id: int) -> None:
        """Release what is kept in memory between steps (an open file): the job is over or in other hands."""
        ...


class JobRunner:
    """A task of the worker."""

    name = "jobs"

    def __init__(self, databases: TenantDatabases, handlers: Mapping[str, JobHandler], clock: Clock) -> None:
        self._databases = databases
        self._handlers = handlers
        self._clock = clock
        self._holder = secrets.token_hex(16)

    async def run(self, tenant: Tenant, stop: Stop) -> bool:
        """Take one job and work on it until it is over or `stop` was asked for."""
        now = self._clock()
        async with self._databases.transaction(tenant) as db:
            job_id = await JobRepository(db).claim(list(self._handlers), now, now + LEASE, self._holder)
        if job_id is None:
            return False
        handler: JobHandler | None = None
        try:
            more = True
            while more and not stop.asked:
                handler, more = await self._step(tenant, job_id)
            if more:
                await self._release(tenant, job_id)
        finally:
            if handler is not None:
                handler.forget(tenant, job_id)
        return True

    async def _step(self, tenant: Tenant, job_id: int) -> tuple[JobHandler | None, bool]:
        handler: JobHandler | None = None
        try:
            async with self._databases.transaction(tenant) as db:
                job = await JobRepository(db).held(job_id, self._holder)
                if job is None:
                    return None, False
                handler = self._handlers[job.kind]
                now = self._clock()
                job.started_at = job.started_at or now
                job.state = JobState.RUNNING.value
                if job.cancel_asked:
                    job.state, job.finished_at = JobState.CANCELLED.value, now
                    await _note_early_end(db, "job.stopped", job, now)
                elif job.attempts > _MOST_ATTEMPTS:
                    raise JobFailed(_INTERRUPTED)
                elif await handler.step(Batch(tenant, db, job)):
                    job.state, job.finished_at = JobState.DONE.value, self._clock()
                job.attempts = 1
                job.lease_until = self._clock() + LEASE
                return handler, job.state == JobState.RUNNING
        except JobFailed as failed:
            await self._fail(tenant, job_id, failed)
        except Exception as error:
            if is_outage(error):
                raise
            log.exception("job failed", tenant=tenant.name, job=job_id)
            await self._fail(tenant, job_id, JobFailed(_UNEXPECTED))
        return handler, False

    async def _fail(self, tenant: Tenant, job_id: int, why: JobFailed) -> None:
        async with self._databases.transaction(tenant) as db:
            job = await JobRepository(db).held(job_id, self._holder)
            if job is not None:
                job.state, job.finished_at = JobState.FAILED.value, self._clock()
                job.error, job.error_params = why.message.msgid, why.message.params
                job.result = {**job.result, **why.result}
                await _note_early_end(db, "job.failed", job, job.finished_at)

    async def _release(self, tenant: Tenant, job_id: int) -> None:
        """Another process may go on at once."""
        async with self._databases.transaction(tenant) as db:
            job = await JobRepository(db).held(job_id, self._holder)
            if job is not None:
                job.lease_until, job.attempts = self._clock(), 0


async def _note_early_end(db: AsyncSession, action: str, job: Job, now: datetime) -> None:
    """What it did until then stays done: its handler writes of it at its end only."""
    counts = {name: value for name, value in job.result.items() if isinstance(value, int)}
    actor = Actor(job.account_id, job.actor, job.address)
    await record(db, actor, action, kind="job", key=str(job.id), after={"kind": job.kind, **counts}, now=now)
