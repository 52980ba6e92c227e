"""Pages of utility programs: a form for each, the trial with its count, the log."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from elink_app.accounts.permissions import Principal
from elink_app.attributes.service import definitions
from elink_app.emails import clean_email
from elink_app.errors import FieldError, InvalidInput, NotFound
from elink_app.jobs.deps import once_to_job
from elink_app.messages import N_, Message
from elink_app.segments.deps import SegmentsDep
from elink_app.segments.service import Segments
from elink_app.sentforms.deps import OnceDep
from elink_app.transfer.columns import TITLES
from elink_app.transfer.deps import MayImport
from elink_app.utilities.deps import RunId, UtilitiesDep
from elink_app.utilities.schemas import ATTRIBUTE, COUNT_FROM, PLAIN, PROGRAM, ProgramName, UtilityState
from elink_app.utilities.service import CountDiffers, Utilities
from elink_app.validation import field_error, field_errors
from elink_app.web import pages
from elink_app.web.deps import DbDep
from elink_app.web.forms import field, read_form

router = APIRouter(include_in_schema=False)

NAMES: Mapping[ProgramName, str] = {
    ProgramName.EDIT: N_("Set or clear a field"),
    ProgramName.RETAG: N_("Add and take away tags"),
    ProgramName.DELETE: N_("Delete addresses"),
    ProgramName.MERGE: N_("Merge duplicates"),
    ProgramName.SUPPRESS: N_("Suppress e-mails"),
}
STATES: Mapping[UtilityState, str] = {
    UtilityState.TRIED: N_("Tried, not run"),
    UtilityState.QUEUED: N_("Waiting"),
    UtilityState.RUNNING: N_("Running"),
    UtilityState.DONE: N_("Done"),
    UtilityState.FAILED: N_("Failed"),
    UtilityState.CANCELLED: N_("Stopped before its end"),
    UtilityState.UNDONE: N_("Undone"),
}
_SPLIT = re.compile(r"[\s,;、\"<>()]+")
_MAX_FILE = 1 << 20


async def _fields(db: DbDep) -> dict[str, str]:
    """What a field is called, by what the form sends for it."""
    return {ATTRIBUTE + one.key: one.label for one in await definitions(db)}


async def _page(
    request: Request, principal: Principal, programs: Utilities, segments: Segments, db: DbDep, *, opened: str = "",
    typed: Mapping[str, str] | None = None, errors: list[FieldError] | None = None,
) -> Response:  # fmt: skip
    return pages.render(
        request, "utilities.html", principal=principal, status=422 if errors else 200, rows=await programs.newest(),
        names=NAMES, states=STATES, segments=await segments.all(), plain=[(one, TITLES[one]) for one in TITLES
        if one in PLAIN], attributes=await _fields(db), opened=opened, typed=dict(typed or {}),
        errors=pages.FormErrors(errors),
    )  # fmt: skip


@router.get("/utilities")
async def utility_list(
    request: Request, principal: MayImport, programs: UtilitiesDep, segments: SegmentsDep, db: DbDep
) -> Response:
    """The programs, and the log of what was run."""
    return await _page(request, principal, programs, segments, db)


@router.post("/utilities/{program}")
async def try_program(
    request: Request, principal: MayImport, programs: UtilitiesDep, segments: SegmentsDep, db: DbDep, once: OnceDep,
    program: str,
) -> Response:  # fmt: skip
    """Try a program."""
    if program not in set(ProgramName):
        raise NotFound
    form = await read_form(request)
    try:
        made = await programs.draft(PROGRAM.validate_python(await _request(ProgramName(program), form)))
    except (ValidationError, InvalidInput) as error:
        found = field_errors(error.errors()) if isinstance(error, ValidationError) else error.errors
        errors = [_at_its_field(one, program) for one in found]
        typed = {name: value for name, value in form.items() if isinstance(value, str)}
        return await _page(request, principal, programs, segments, db, opened=program, typed=typed, errors=errors)
    return await once.redirect(f"/utilities/runs/{made.id}")


@router.get("/utilities/runs/{run_id}")
async def run_page(
    request: Request, principal: MayImport, programs: UtilitiesDep, db: DbDep, run_id: RunId
) -> Response:
    """What it would change, or what it has changed."""
    return await _run_page(request, principal, programs, db, run_id)


@router.post("/utilities/runs/{run_id}/run")
async def run(
    request: Request, principal: MayImport, programs: UtilitiesDep, db: DbDep, once: OnceDep, run_id: RunId
) -> Response:
    """Run it; from 100 on with the count typed."""
    form = await read_form(request)
    typed = field(form, "count").strip().replace(",", "")
    count = int(typed[:18]) if typed.isascii() and typed.isdigit() else None
    try:
        return await once_to_job(request, once, await programs.start(run_id, count))
    except CountDiffers as error:
        return await _run_page(request, principal, programs, db, run_id, problem=error.detail, status=error.status)


@router.post("/utilities/runs/{run_id}/undo")
async def undo(request: Request, programs: UtilitiesDep, once: OnceDep, run_id: RunId) -> Response:
    """Take it back."""
    return await once_to_job(request, once, await programs.undo(run_id))


async def _run_page(
    request: Request, principal: Principal, programs: Utilities, db: DbDep, run_id: int, *,
    problem: Message | None = None, status: int = 200,
) -> Response:  # fmt: skip
    found = await programs.get(run_id)
    titles = {**{one.value: title for one, title in TITLES.items()}, **await _fields(db)}
    return pages.render(
        request, "utility.html", principal=principal, status=status, run=found, names=NAMES, states=STATES,
        titles=titles, problem=problem, count_from=COUNT_FROM,
    )  # fmt: skip


def _at_its_field(error: FieldError, program: str) -> FieldError:
    # The name of a program's model and list positions are steps of the path, not fields of the form.
    names = [part for part in error.field if isinstance(part, str) and part not in (*ProgramName, "target")]
    return FieldError((f"{program}-{names[0] if names else 'emails'}",), error.code, error.message)


async def _request(program: ProgramName, form: FormData) -> dict[str, Any]:
    segment = field(form, "segment_id")
    chosen = int(segment[:18]) if segment.isascii() and segment.isdigit() else None
    target = {"segment_id": chosen, "q": field(form, "q"), "tag": field(form, "tag")}
    made: dict[str, Any] = {"program": program.value, "target": target}
    if program is ProgramName.EDIT:
        made |= {"field": field(form, "field"), "value": field(form, "value")}
    elif program is ProgramName.RETAG:
        made |= {name: [tag.strip() for tag in re.split("[,、\n]", field(form, name)) if tag.strip()]
                 for name in ("add", "remove")}  # fmt: skip
    elif program is ProgramName.MERGE:
        made |= {"likeness": field(form, "likeness")}
    elif program is ProgramName.SUPPRESS:
        emails = await _emails(form)
        if not emails and field(form, "source") != "addresses":
            raise InvalidInput([field_error(("emails",), "required")])
        if emails and field(form, "source") != "addresses":
            del made["target"]
        made |= {"emails": emails, "detail": field(form, "detail")}
    return made


async def _emails(form: FormData) -> list[str]:
    """E-mails of the list and of the file, each once; words without @ (headings, names) are no e-mails."""
    text = field(form, "emails")
    file = form.get("file")
    if isinstance(file, UploadFile):
        data = await file.read(_MAX_FILE)
        try:
            text += "\n" + data.decode("utf-8-sig")
        except UnicodeError:
            text += "\n" + data.decode("cp932", "replace")
    words = [word for word in _SPLIT.split(text) if "@" in word]
    return list(dict.fromkeys(clean_email(word) or word for word in words))
