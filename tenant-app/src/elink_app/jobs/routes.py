"""Pages of background work. They reload themselves while something is under way, by a header and without script."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from elink_app.jobs.deps import JobId, JobsDep, to_job
from elink_app.jobs.service import COUNTS
from elink_app.web import pages
from elink_app.web.deps import ActorDep, PrincipalDep, StateDep

router = APIRouter(include_in_schema=False)

_RELOAD = {"Refresh": "3"}


@router.get("/jobs")
async def job_list(request: Request, principal: PrincipalDep, jobs: JobsDep) -> Response:
    """The newest jobs."""
    rows = await jobs.newest(principal)
    reload = _RELOAD if any(row.is_open for row in rows) else None
    return pages.render(request, "jobs.html", principal=principal, rows=rows, headers=reload)


@router.get("/jobs/{job_id}")
async def job(request: Request, principal: PrincipalDep, jobs: JobsDep, state: StateDep, job_id: JobId) -> Response:
    """One job: how far it is, what came of it."""
    found = await jobs.get(principal, job_id)
    over = found.finished_at
    return pages.render(
        request,
        "job.html",
        principal=principal,
        job=found,
        undo_until=over + state.undo_window if over and over + state.undo_window > state.clock() else None,
        counts=[(title, found.result[name]) for name, title in COUNTS.items() if name in found.result],
        headers=_RELOAD if found.is_open else None,
    )


@router.post("/jobs/{job_id}/cancel")
async def cancel(request: Request, principal: PrincipalDep, actor: ActorDep, jobs: JobsDep, job_id: JobId) -> Response:
    """Ask for an end."""
    await jobs.cancel(principal, actor, job_id)
    return to_job(request, job_id)
