"""Asking for long work, and looking how far it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.permissions import Permission, Principal
from elink_app.audit.service import Actor, record
from elink_app.clock import Clock
from elink_app.errors import NotFound
from elink_app.jobs.models import Job, JobState
from elink_app.jobs.repository import OPEN, JobRepository
from elink_app.messages import N_, Message

LISTED = 100

TITLES: Mapping[str, str] = {
    "import": N_("Import"),
    "import-check": N_("Check of an import"),
    "import-undo": N_("Undoing an import"),
    "export": N_("Export"),
    "utility": N_("Utility program"),
    "utility-undo": N_("Undoing a utility program"),
}
# An import and what else changes many addresses at once is a utility program.
_NEEDS: Mapping[str, Permission] = {
    kind: Permission.ADDRESSES_EXPORT if kind == "export" else Permission.UTILITIES_RUN for kind in TITLES
}
STATES: Mapping[str, str] = {
    JobState.QUEUED: N_("Waiting"),
    JobState.RUNNING: N_("Running"),
    JobState.DONE: N_("Done"),
    JobState.FAILED: N_("Failed"),
    JobState.CANCELLED: N_("Stopped before its end"),
}

COUNTS: Mapping[str, str] = {
    "new": N_("New"),
    "changed": N_("Changed"),
    "unchanged": N_("Unchanged"),
    "skipped": N_("Left out"),
    "bad": N_("Rows not taken"),
    "suppressed": N_("Of these, get no mail"),
    "over_limit": N_("Too many for the plan"),
    "deleted": N_("Deleted again"),
    "restored": N_("Put back as before"),
    "retracted": N_("Consents taken back"),
    "kept": N_("Left as saved since"),
    "rows": N_("Addresses written"),
    "consents": N_("Consents recorded"),
    "removed": N_("Addresses deleted"),
    "merged": N_("Merged into another"),
    "apart": N_("Left apart: too much for one address"),
    "refused": N_("Left as they are: no room for another tag"),
    "blocked": N_("Get no mail from now on"),
    "lifted": N_("May get mail again"),
    "replaced": N_("Characters replaced by 〓"),
}
"""What a job counts."""


@dataclass(frozen=True)
class JobView:
    """A job as people see it. `percent` is None while the amount of work is not known."""

    id: int
    kind: str
    title: str
    state: str
    state_title: str
    done: int
    total: int
    parameters: Mapping[str, Any]
    result: Mapping[str, Any]
    error: Message | None
    actor: str
    account_id: int | None
    created_at: datetime
    finished_at: datetime | None
    stopping: bool

    @property
    def is_open(self) -> bool:
        """True while it waits or runs."""
        return self.state in OPEN

    @property
    def percent(self) -> int | None:
        """How much is done, 0 to 100."""
        return min(100, self.done * 100 // self.total) if self.total else None


def view(job: Job) -> JobView:
    """The row for people."""
    return JobView(
        id=job.id,
        kind=job.kind,
        title=TITLES[job.kind],
        state=job.state,
        state_title=STATES[job.state],
        done=job.done,
        total=job.total,
        parameters=job.parameters,
        result=job.result,
        error=Message(job.error, job.error_params) if job.error else None,
        actor=job.actor,
        account_id=job.account_id,
        created_at=job.created_at,
        finished_at=job.finished_at,
        stopping=job.cancel_asked,
    )


class Jobs:
    """The jobs of one tenant within one transaction. Who may ask for such sees their own, the master all."""

    def __init__(self, session: AsyncSession, clock: Clock) -> None:
        self._session = session
        self._rows = JobRepository(session)
        self._clock = clock

    async def start(self, kind: str, parameters: Mapping[str, Any], actor: Actor, *, total: int = 0) -> int:
        """Queue a job; its id. Wake the worker after the commit."""
        now = self._clock()
        job = Job(
            kind=kind,
            state=JobState.QUEUED.value,
            parameters=dict(parameters),
            cursor={},
            result={},
            error_params={},
            done=0,
            total=total,
            account_id=actor.account_id,
            actor=actor.name,
            address=actor.address,
            created_at=now,
            lease_until=now,
        )
        await self._rows.add(job)
        return job.id

    async def newest(self, principal: Principal) -> Sequence[JobView]:
        """The newest jobs that this account may see, LISTED at most."""
        owner = None if principal.is_master else principal.account_id
        kinds = [kind for kind, needed in _NEEDS.items() if principal.may(needed)]
        return [view(job) for job in await self._rows.newest(owner, kinds, LISTED)]

    async def get(self, principal: Principal, job_id: int) -> JobView:
        """One job; raises NotFound for somebody else's."""
        job = await self._rows.get(job_id)
        if job is None or not (principal.is_master or job.account_id == principal.account_id):
            raise NotFound
        if not principal.may(_NEEDS[job.kind]):
            raise NotFound
        return view(job)

    async def cancel(self, principal: Principal, actor: Actor, job_id: int) -> None:
        """Ask for an end after the batch under way; nothing happens to a job that is over. Raises NotFound."""
        job = await self.get(principal, job_id)
        if job.is_open and not job.stopping and await self._rows.ask_to_cancel(job_id):
            after = {"kind": job.kind, "asked_for_by": job.actor}
            await record(
                self._session, actor, "job.cancel", kind="job", key=str(job_id), after=after, now=self._clock()
            )
