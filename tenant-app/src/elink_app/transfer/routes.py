"""Pages of imports: upload, look, choose columns, rehearse, run; refused rows; undo."""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from elink_app.accounts.permissions import Principal
from elink_app.jobs.deps import JobId, JobsDep, once_to_job
from elink_app.messages import Message
from elink_app.sentforms.deps import OnceDep
from elink_app.text import has_refused_character, unify_line_breaks
from elink_app.transfer.badrows import bad_rows_csv
from elink_app.transfer.columns import COLUMN_PATTERN, TITLES, Target, sentence
from elink_app.transfer.deps import FileId, ImportsDep, MayImport, receive
from elink_app.transfer.plan import ENCODINGS, EXISTING, SEPARATORS, Existing, Plan
from elink_app.transfer.service import NotReady, Upload
from elink_app.web import pages, uploads
from elink_app.web.deps import ActorDep, StateDep
from elink_app.web.forms import field, fields, read_form

router = APIRouter(include_in_schema=False)

SHOWN_BAD = 100


@router.get("/imports")
async def import_list(request: Request, principal: MayImport, imports: ImportsDep, state: StateDep) -> Response:
    """Choose a file; files of the last days."""
    return pages.render(
        request,
        "imports.html",
        principal=principal,
        rows=await imports.newest(principal),
        limit=state.settings.upload_limit_bytes >> 20,
    )


@router.post("/imports")
async def upload(request: Request) -> Response:
    """Take a file in."""
    return pages.redirect(f"/imports/{await receive(request, uploads.receive_form)}")


@router.get("/imports/{file_id}")
async def import_form(request: Request, principal: MayImport, imports: ImportsDep, file_id: FileId) -> Response:
    """The first rows, and what is to be done with the columns."""
    return await _form(request, principal, imports, await imports.get(principal, file_id))


@router.post("/imports/{file_id}")
async def choose(
    request: Request, principal: MayImport, imports: ImportsDep, actor: ActorDep, once: OnceDep, file_id: FileId
) -> Response:
    """Keep the choices; then look again, or rehearse."""
    form = await read_form(request)
    before = (await imports.get(principal, file_id)).plan
    plan = await imports.save(principal, file_id, _plan(form, before))
    # Read in another way, the columns are others: they are to be looked at before anything is done with them.
    same = (plan.layout, plan.has_heading) == (before.layout, before.has_heading)
    if field(form, "action") != "check" or not same:
        return pages.redirect(f"/imports/{file_id}")
    try:
        return await once_to_job(request, once, await imports.check(principal, file_id, actor))
    except NotReady as error:
        found = await imports.get(principal, file_id)
        return await _form(request, principal, imports, found, problem=error.detail, status=error.status)


@router.post("/imports/{file_id}/run")
async def run(
    request: Request, principal: MayImport, imports: ImportsDep, actor: ActorDep, once: OnceDep, file_id: FileId
) -> Response:
    """Import."""
    return await once_to_job(request, once, await imports.run(principal, file_id, actor))


@router.post("/jobs/{job_id}/undo")
async def undo(
    request: Request, principal: MayImport, imports: ImportsDep, actor: ActorDep, once: OnceDep, job_id: JobId
) -> Response:
    """Take an import back."""
    return await once_to_job(request, once, await imports.undo(principal, job_id, actor))


@router.get("/jobs/{job_id}/bad-rows")
async def bad_rows(
    request: Request, principal: MayImport, jobs: JobsDep, imports: ImportsDep, job_id: JobId
) -> Response:
    """The first refused rows with their reasons."""
    found = await jobs.get(principal, job_id)
    rows = await imports.bad_rows(job_id, 0, SHOWN_BAD)
    shown = [(number, cells, [sentence(why) for why in reasons]) for number, cells, reasons in rows]
    return pages.render(request, "bad_rows.html", principal=principal, job=found, rows=shown)


@router.get("/jobs/{job_id}/bad-rows.csv")
async def bad_rows_file(request: Request, principal: MayImport, jobs: JobsDep, job_id: JobId) -> Response:
    """All refused rows in the columns of the file, with the reasons, to be mended and imported again."""
    return bad_rows_csv(request, await jobs.get(principal, job_id))


def _plan(form: FormData, before: Plan) -> Plan:
    """The choices of the form; what it does not know stays as it was."""
    values: dict[str, Any] = before.model_dump()
    for name, known in (("encoding", ENCODINGS), ("separator", SEPARATORS), ("existing", EXISTING)):
        chosen = next((one for one in known if one.value == _unquoted(field(form, name))), None)
        values[name] = chosen or values[name]
    values["has_heading"] = field(form, "has_heading") == "yes"
    # Names that there are none of are left out when the plan is saved.
    columns = [name if re.match(COLUMN_PATTERN, name) else Target.NONE for name in fields(form, "columns")]
    values["columns"] = columns or values["columns"]
    for name, most in (("consent_source", 300), ("consent_wording", 2000)):
        if name in form:
            text = unify_line_breaks(field(form, name))[:most].strip()
            values[name] = "" if has_refused_character(text, multiline=name == "consent_wording") else text
    return Plan.model_validate(values)


def _unquoted(value: str) -> str:
    # A tab does not survive every browser's form.
    return "\t" if value == "tab" else value


async def _form(
    request: Request,
    principal: Principal,
    imports: ImportsDep,
    found: Upload,
    *,
    problem: Message | None = None,
    status: int = 200,
) -> Response:
    preview = await imports.preview(principal, found.id)
    return pages.render(
        request,
        "import.html",
        principal=principal,
        status=status,
        upload=found,
        plan=found.plan,
        preview=preview,
        columns=[*found.plan.columns, *[Target.NONE] * len(preview.heading)][: len(preview.heading)],
        problem=problem or preview.problem,
        targets=TITLES,
        attributes=await imports.attributes(),
        encodings=ENCODINGS,
        separators=SEPARATORS,
        existing=EXISTING,
        update=Existing.UPDATE,
    )
