"""`/api/v1/imports`: the same steps as on the pages, as JSON."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Depends, Query, Request, Response, status

from elink_app.jobs.deps import JobId
from elink_app.transfer.deps import FileId, ImportsDep, MayImport, receive
from elink_app.transfer.plan import Plan
from elink_app.transfer.schemas import ImportOutput, JobStarted, to_output
from elink_app.web import uploads
from elink_app.web.deps import ActorDep, StateDep, TenantDep
from elink_app.web.openapi import problems

router = APIRouter(prefix="/api/v1", tags=["imports"], responses=problems(401, 403, 503))


class Work:
    """Tells the worker of a job when the answer has gone, and thus after the commit."""

    def __init__(self, tasks: BackgroundTasks, state: StateDep, tenant: TenantDep) -> None:
        self._tasks = tasks
        self._state = state
        self._tenant = tenant

    def queued(self, job_id: int) -> JobStarted:
        """The answer for a job that was queued."""
        self._tasks.add_task(self._state.wakeups.wake, self._tenant.name)
        return JobStarted(job=job_id)


WorkDep = Annotated[Work, Depends()]

_FILE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post("/imports", status_code=status.HTTP_201_CREATED, responses=problems(409, 413, 422), openapi_extra=_FILE)
async def upload_file(
    request: Request,
    response: Response,
    name: Annotated[str, Query(max_length=200, description="What the file is called", examples=["meibo.csv"])] = "",
) -> dict[str, int]:
    """Upload a CSV, TSV or XLSX file as the body. Encoding, separator and columns are guessed."""
    number = await receive(request, uploads.receive_body)
    response.headers["Location"] = f"/api/v1/imports/{number}"
    return {"id": number}


@router.get("/imports/{file_id}", responses=problems(404, 422))
async def get_import(principal: MayImport, imports: ImportsDep, file_id: FileId) -> ImportOutput:
    """An uploaded file with its first rows, read as its plan says."""
    return to_output(await imports.get(principal, file_id), await imports.preview(principal, file_id))


@router.put("/imports/{file_id}/plan", responses=problems(404, 422))
async def put_plan(principal: MayImport, imports: ImportsDep, file_id: FileId, plan: Plan) -> ImportOutput:
    """Say how the file is to be read and taken. When it is read in another way, the columns are guessed again."""
    await imports.save(principal, file_id, plan)
    return to_output(await imports.get(principal, file_id), await imports.preview(principal, file_id))


@router.post("/imports/{file_id}/check", responses=problems(404, 409, 422))
async def check_import(
    work: WorkDep, principal: MayImport, imports: ImportsDep, actor: ActorDep, file_id: FileId
) -> JobStarted:
    """Find out what an import would do, in the background; nothing is changed."""
    return work.queued(await imports.check(principal, file_id, actor))


@router.post("/imports/{file_id}/run", responses=problems(404, 409, 422))
async def run_import(
    work: WorkDep, principal: MayImport, imports: ImportsDep, actor: ActorDep, file_id: FileId
) -> JobStarted:
    """Import, in the background. Rows that cannot be taken are kept with the reasons; the others are taken."""
    return work.queued(await imports.run(principal, file_id, actor))


@router.post("/jobs/{job_id}/undo", responses=problems(404, 409, 422))
async def undo_import(
    work: WorkDep, principal: MayImport, imports: ImportsDep, actor: ActorDep, job_id: JobId
) -> JobStarted:
    """Take an import back. Addresses that somebody saved since stay as they are. 409 when it is too late."""
    return work.queued(await imports.undo(principal, job_id, actor))
