"""`/api/v1/jobs`: the same as the pages, as JSON."""

from __future__ import annotations

from fastapi import APIRouter

from elink_app.jobs.deps import JobId, JobsDep
from elink_app.jobs.schemas import JobList, JobOutput, to_output
from elink_app.web.deps import ActorDep, PrincipalDep
from elink_app.web.openapi import problems

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"], responses=problems(401, 403, 503))


@router.get("")
async def list_jobs(principal: PrincipalDep, jobs: JobsDep) -> JobList:
    """The newest jobs: one's own; the master account sees all."""
    return JobList(items=[to_output(job) for job in await jobs.newest(principal)])


@router.get("/{job_id}", responses=problems(404, 422))
async def get_job(principal: PrincipalDep, jobs: JobsDep, job_id: JobId) -> JobOutput:
    """One job."""
    return to_output(await jobs.get(principal, job_id))


@router.post("/{job_id}/cancel", responses=problems(404, 422))
async def cancel_job(principal: PrincipalDep, actor: ActorDep, jobs: JobsDep, job_id: JobId) -> JobOutput:
    """Ask for an end after the batch under way. What was done before it stays."""
    await jobs.cancel(principal, actor, job_id)
    return to_output(await jobs.get(principal, job_id))
