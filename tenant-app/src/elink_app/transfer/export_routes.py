"""Pages of exports."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import FileResponse, Response

from elink_app.errors import InvalidInput
from elink_app.jobs.deps import JobId, wake_after
from elink_app.segments.deps import SegmentsDep
from elink_app.sentforms.deps import OnceDep
from elink_app.transfer.deps import ExportsDep, MayExport
from elink_app.transfer.exporter import Format, Unfit
from elink_app.transfer.exports import ExportInput
from elink_app.validation import field_errors
from elink_app.web import pages
from elink_app.web.forms import field, read_form

router = APIRouter(include_in_schema=False)


@router.get("/exports")
async def export_form(request: Request, principal: MayExport, segments: SegmentsDep) -> Response:
    """Choose what is written, and how."""
    known = await segments.all()
    return pages.render(request, "exports.html", principal=principal, segments=known)


@router.post("/exports")
async def export(request: Request, _principal: MayExport, exports: ExportsDep, once: OnceDep) -> Response:
    """Queue an export."""
    form = await read_form(request)
    kind, segment = field(form, "format"), field(form, "segment_id")
    try:
        asked = ExportInput(
            segment_id=int(segment[:18]) if segment.isascii() and segment.isdigit() else None,
            q=field(form, "q").replace("\0", "")[:200],
            tag=field(form, "tag").replace("\0", "")[:50],
            format=Format(kind) if kind in set(Format) else Format.CSV,
            encoding="cp932" if field(form, "encoding") == "cp932" else "utf-8",
            unfit=Unfit.REPLACE if field(form, "unfit") == Unfit.REPLACE else Unfit.REFUSE,
        )
    except ValidationError as error:
        raise InvalidInput(field_errors(error.errors())) from None
    answer = await once.redirect(f"/jobs/{await exports.start(asked)}")
    answer.background = wake_after(request)
    return answer


@router.get("/exports/{job_id}/file")
async def download(_principal: MayExport, exports: ExportsDep, job_id: JobId) -> Response:
    """The file, for who asked for it and the master."""
    found = await exports.file(job_id)
    return FileResponse(found.path, media_type=found.media_type, filename=found.name)
