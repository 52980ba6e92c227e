"""Pages of exports."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import FileResponse, Response

from elink_app.accounts.permissions import Permission, Principal
from elink_app.audit.service import record
from elink_app.errors import NotFound
from elink_app.jobs.deps import JobId, JobsDep, to_job
from elink_app.transfer.deps import store_of
from elink_app.transfer.exporter import Format, Unfit
from elink_app.transfer.rights import kept_rights
from elink_app.transfer.store import Shelf
from elink_app.web import pages
from elink_app.web.deps import ActorDep, DbDep, StateDep, TenantDep, require
from elink_app.web.forms import field, read_form

router = APIRouter(include_in_schema=False)

MayExport = Annotated[Principal, Depends(require(Permission.ADDRESSES_EXPORT))]


@router.get("/exports")
async def export_form(request: Request, principal: MayExport) -> Response:
    """Choose what is written, and how."""
    return pages.render(request, "exports.html", principal=principal)


@router.post("/exports")
async def export(
    request: Request, principal: MayExport, jobs: JobsDep, db: DbDep, state: StateDep, actor: ActorDep
) -> Response:
    """Queue an export."""
    form = await read_form(request)
    asked = {
        "q": field(form, "q").replace("\0", "")[:200],
        "tag": field(form, "tag").replace("\0", "")[:50],
        "format": Format.TSV if field(form, "format") == Format.TSV else Format.CSV,
        "encoding": "cp932" if field(form, "encoding") == "cp932" else "utf-8",
        "unfit": Unfit.REPLACE if field(form, "unfit") == Unfit.REPLACE else Unfit.REFUSE,
    }
    number = await jobs.start("export", {**asked, "rights": kept_rights(principal)}, actor)
    await record(db, actor, "addresses.export_started", kind="job", key=str(number), after=asked, now=state.clock())
    return to_job(request, number)


@router.get("/exports/{job_id}/file")
async def download(
    principal: MayExport, jobs: JobsDep, db: DbDep, state: StateDep, tenant: TenantDep, actor: ActorDep, job_id: JobId
) -> Response:
    """The file, for who asked for it and the master; every download is written into the log."""
    found = await jobs.get(principal, job_id)
    if found.kind != "export" or found.state != "done" or "file" not in found.result:
        raise NotFound
    path = store_of(state).path(tenant, Shelf.EXPORTS, found.result["file"])
    if not await asyncio.to_thread(path.is_file):
        raise NotFound
    await record(db, actor, "addresses.export_downloaded", kind="job", key=str(job_id), now=state.clock())
    kind = Format(found.parameters["format"])
    charset = "shift_jis" if found.parameters["encoding"] == "cp932" else "utf-8"
    media = "text/tab-separated-values" if kind is Format.TSV else "text/csv"
    return FileResponse(path, media_type=f"{media}; charset={charset}", filename=f"addresses-{job_id}.{kind.value}")
