"""Jobs as a dependency of pages and API, and the word to the worker after the commit."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Depends, Path, Request
from starlette.background import BackgroundTask
from starlette.responses import Response

from elink_app.jobs.service import Jobs
from elink_app.sentforms.deps import Once
from elink_app.web import pages
from elink_app.web.deps import DbDep, StateDep
from elink_app.web.state import state_of, tenant_of

JobId = Annotated[int, Path(ge=1, le=2**63 - 1, examples=[1])]


def jobs_service(db: DbDep, state: StateDep) -> Jobs:
    """The tenant's jobs in the request's transaction."""
    return Jobs(db, state.clock)


JobsDep = Annotated[Jobs, Depends(jobs_service)]


def wake_after(request: Request, at: datetime | None = None) -> BackgroundTask:
    """For a response: the worker is woken (for `at`) when the answer has gone, and thus after the commit."""
    return BackgroundTask(state_of(request).wakeups.wake, tenant_of(request).name, at)


def to_job(request: Request, job_id: int) -> Response:
    """After something was done to a job: go to its page."""
    response = pages.redirect(f"/jobs/{job_id}")
    response.background = wake_after(request)
    return response


async def once_to_job(request: Request, once: Once, job_id: int) -> Response:
    """After work was asked for: go to its page, also when the button was pressed twice."""
    response = await once.redirect(f"/jobs/{job_id}")
    response.background = wake_after(request)
    return response
