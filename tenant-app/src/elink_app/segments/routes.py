"""Pages of segments."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import ValidationError
from starlette.datastructures import FormData
from starlette.responses import Response

from elink_app.accounts.permissions import Principal
from elink_app.addresses import service as addresses
from elink_app.addresses.deps import BookDep
from elink_app.addresses.service import AddressBook
from elink_app.errors import EditConflict, FieldError, InvalidInput
from elink_app.labels.deps import LabelsDep
from elink_app.labels.service import Labels
from elink_app.messages import N_, Message
from elink_app.segments.compile import tree_members
from elink_app.segments.deps import SegmentsDep
from elink_app.segments.rows import MAX_ROWS, FormRow, Names, row_errors, to_rows, to_tree
from elink_app.segments.schemas import SegmentOutput, SegmentUpdate, TreeInput
from elink_app.segments.service import Segments
from elink_app.sentforms.deps import OnceDep
from elink_app.validation import field_errors
from elink_app.web import deletions, pages
from elink_app.web.deps import MayEdit, MayView
from elink_app.web.forms import field, fields, read_form

router = APIRouter(include_in_schema=False)

SegmentId = Annotated[int, Path(ge=1, le=2**63 - 1)]
_SPARE = 4


async def _names(book: AddressBook, labels: Labels) -> Names:
    return Names({tag.id: tag.name for tag in await labels.all()}, await book.fields())


@router.get("/segments")
async def segment_list(request: Request, principal: MayView, segments: SegmentsDep, notice: str = "") -> Response:
    """All segments, by name."""
    rows = await segments.all()
    return pages.render(request, "segments.html", principal=principal, rows=rows, notice_name=notice)


@router.get("/segments/new")
async def new_form(request: Request, principal: MayEdit, book: BookDep, labels: LabelsDep) -> Response:
    """An empty form."""
    names = await _names(book, labels)
    return _form(request, principal, None, names, name="", kind="all", rows=[], version="")


@router.get("/segments/{segment_id}")
async def segment(
    request: Request,
    principal: MayView,
    segments: SegmentsDep,
    book: BookDep,
    segment_id: SegmentId,
    cursor: Annotated[str, Query(max_length=4000)] = "",
    notice: str = "",
) -> Response:
    """The addresses of a segment as they are now."""
    found = await segments.get(segment_id)
    page = await book.page(addresses.Query(cursor=cursor, segment=tree_members(found.tree)))
    return pages.render(
        request, "segment.html", principal=principal, segment=found, page=page, count=page.total, notice_name=notice
    )


@router.get("/segments/{segment_id}/edit")
async def edit_form(
    request: Request, principal: MayEdit, segments: SegmentsDep, book: BookDep, labels: LabelsDep,
    segment_id: SegmentId,
) -> Response:  # fmt: skip
    """The form with what is saved."""
    found = await segments.get(segment_id)
    names = await _names(book, labels)
    return _form(
        request, principal, found, names, name=found.name, kind=found.tree.kind, rows=to_rows(found.tree, names),
        version=str(found.version),
    )  # fmt: skip


@router.post("/segments")
async def create(
    request: Request, principal: MayEdit, segments: SegmentsDep, book: BookDep, labels: LabelsDep, once: OnceDep
) -> Response:
    """Save a new segment."""
    form = await read_form(request)
    names = await _names(book, labels)
    data, places = _input(form, names)
    if field(form, "action") == "count":
        return await _counted(request, principal, None, names, form, segments, data, places)
    try:
        made = await segments.create(SegmentUpdate.model_validate(data))
    except (ValidationError, InvalidInput) as error:
        return _again(request, principal, None, names, form, error, places)
    return await once.redirect(f"/segments/{made.id}?notice=saved")


@router.post("/segments/{segment_id}")
async def save(
    request: Request, principal: MayEdit, segments: SegmentsDep, book: BookDep, labels: LabelsDep,
    segment_id: SegmentId, once: OnceDep,
) -> Response:  # fmt: skip
    """Save a changed segment."""
    form = await read_form(request)
    found = await segments.get(segment_id)
    names = await _names(book, labels)
    data, places = _input(form, names)
    if field(form, "action") == "count":
        return await _counted(request, principal, found, names, form, segments, data, places)
    version = field(form, "version")
    if version.isascii() and version.isdigit() and 0 < int(version[:19]) < 2**63:
        data["version"] = int(version[:19])
    try:
        await segments.update(segment_id, SegmentUpdate.model_validate(data))
    except (ValidationError, InvalidInput, EditConflict) as error:
        return _again(request, principal, found, names, form, error, places)
    return await once.redirect(f"/segments/{segment_id}?notice=saved")


@router.get("/segments/{segment_id}/delete")
async def ask_to_delete(
    request: Request, principal: MayEdit, segments: SegmentsDep, segment_id: SegmentId
) -> Response:  # fmt: skip
    """What goes with a segment."""
    found = await segments.get(segment_id)
    points = [
        Message(N_("Its conditions go; the addresses stay.")),
        Message(N_("Deliveries for it that are still drafts need another segment.")),
    ]
    question = Message(N_("Delete the segment %(name)s?"), {"name": found.name})
    asked = deletions.Deletion(question, f"/segments/{segment_id}", [*points, deletions.FINAL])
    return deletions.ask(request, principal, asked)


@router.post("/segments/{segment_id}/delete")
async def delete(_principal: MayEdit, segments: SegmentsDep, segment_id: SegmentId) -> Response:
    """Delete a segment; addresses stay."""
    await segments.delete(segment_id)
    return pages.redirect("/segments?notice=deleted")


def _typed(form: FormData) -> list[FormRow]:
    columns = [fields(form, name)[:MAX_ROWS] for name in ("level", "what", "op", "value")]
    return [
        FormRow(int(level) if level in ("1", "2", "3") else 1, what[:60], op[:20], value[:2000])
        for level, what, op, value in zip(*columns, strict=False)
    ]


def _input(form: FormData, names: Names) -> tuple[dict[str, Any], dict[tuple[Any, ...], int]]:
    tree, places = to_tree(field(form, "kind"), _typed(form), names)
    return {"name": field(form, "name"), "tree": tree}, places


async def _counted(
    request: Request, principal: Principal, saved: SegmentOutput | None, names: Names, form: FormData,
    segments: Segments, data: dict[str, Any], places: dict[tuple[Any, ...], int],
) -> Response:  # fmt: skip
    """The form as it was typed with the exact count; nothing is saved."""
    try:
        found = await segments.preview(TreeInput.model_validate({"tree": data["tree"]}).tree)
    except (ValidationError, InvalidInput) as error:
        return _again(request, principal, saved, names, form, error, places)
    return _form(
        request, principal, saved, names, name=field(form, "name"), kind=field(form, "kind"), rows=_typed(form),
        version=field(form, "version")[:19], count=found.count,
    )  # fmt: skip


def _again(
    request: Request, principal: Principal, saved: SegmentOutput | None, names: Names, form: FormData,
    error: ValidationError | InvalidInput | EditConflict, places: dict[tuple[Any, ...], int],
) -> Response:  # fmt: skip
    if isinstance(error, EditConflict):
        errors, status, problem = [], error.status, error.detail
    else:
        found = field_errors(error.errors()) if isinstance(error, ValidationError) else error.errors
        errors = [_at_its_row(one, places) for one in found]
        status, problem = 422, InvalidInput(errors).detail
    # After a conflict, saving once more is a decision.
    version = str(saved.version) if saved is not None else ""
    return _form(
        request, principal, saved, names, name=field(form, "name"), kind=field(form, "kind"), rows=_typed(form),
        version=version, errors=errors, problem=problem, status=status,
    )  # fmt: skip


def _at_its_row(error: FieldError, places: dict[tuple[Any, ...], int]) -> FieldError:
    # The name of a condition's model is a step of pydantic's path, not of the input.
    path = tuple(part for part in error.field if part in ("tree", "of", "name") or isinstance(part, int))
    row = row_errors(path, places)
    return FieldError((f"row-{row}" if row is not None else str(path[0]) if path else "",), error.code, error.message)


def _form(
    request: Request, principal: Principal, saved: SegmentOutput | None, names: Names, *, name: str, kind: str,
    rows: list[FormRow], version: str, errors: list[FieldError] | None = None, problem: Any = None, status: int = 200,
    count: int | None = None,
) -> Response:  # fmt: skip
    filled = [row for row in rows if row.what] if not errors else rows
    spare = [FormRow()] * min(_SPARE, max(0, MAX_ROWS - len(filled)))
    return pages.render(
        request, "segment_form.html", principal=principal, status=status, segment=saved, name=name, kind=kind,
        rows=[*filled, *spare], version=version, errors=pages.FormErrors(errors), problem=problem, names=names,
        count=count,
    )  # fmt: skip
