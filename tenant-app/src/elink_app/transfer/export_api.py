"""`/api/v1/exports`: an export in the background, and its file."""

from __future__ import annotations

from fastapi import APIRouter, status
from starlette.responses import FileResponse

from elink_app.jobs.deps import JobId
from elink_app.transfer.api import WorkDep
from elink_app.transfer.deps import ExportsDep, MayExport
from elink_app.transfer.exports import ExportInput
from elink_app.transfer.schemas import JobStarted
from elink_app.web.openapi import problems

router = APIRouter(prefix="/api/v1/exports", tags=["exports"], responses=problems(401, 403, 503))


@router.post("", status_code=status.HTTP_202_ACCEPTED, responses=problems(404, 422))
async def start_export(work: WorkDep, _principal: MayExport, exports: ExportsDep, data: ExportInput) -> JobStarted:
    """Write addresses into a file, in the background. The job tells which characters CP932 does not have."""
    return work.queued(await exports.start(data))


@router.get(
    "/{job_id}/file",
    response_class=FileResponse,
    responses={200: {"content": {"application/octet-stream": {}}}, **problems(404, 409, 422)},
)
async def download_export(_principal: MayExport, exports: ExportsDep, job_id: JobId) -> FileResponse:
    """The file of an export that is done: kept for 7 days, and every download is written into the audit log.

    409 `export-outdated` when labels or roles have since taken the account's right to something that may be in it.
    """
    found = await exports.file(job_id)
    return FileResponse(found.path, media_type=found.media_type, filename=found.name)
