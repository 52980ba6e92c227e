"""Pages of duplicates: found, compared side by side, merged, parted again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request
from pydantic import ValidationError
from starlette.responses import Response

from elink_app.accounts.permissions import Principal
from elink_app.addresses.deps import BookDep
from elink_app.addresses.schemas import PLAIN_FIELDS
from elink_app.addresses.service import AddressBook
from elink_app.duplicates.deps import DuplicatesDep
from elink_app.duplicates.schemas import MAX_MERGED, Likeness, MergeInput
from elink_app.errors import AppError, EditConflict, InvalidInput, LimitReached, NotFound
from elink_app.messages import Message
from elink_app.sentforms.deps import OnceDep
from elink_app.validation import field_errors
from elink_app.web import pages
from elink_app.web.deps import MayEdit, MayView
from elink_app.web.forms import field, fields, read_form

router = APIRouter(include_in_schema=False)

MergeId = Annotated[int, Path(ge=1, le=2**63 - 1)]


@router.get("/duplicates")
async def duplicate_list(
    request: Request,
    principal: MayView,
    duplicates: DuplicatesDep,
    by: Likeness = Likeness.EMAIL,
    after: Annotated[str, Query(max_length=700)] = "",
    merged: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    notice: str = "",
) -> Response:
    """Groups of addresses that seem to be the same."""
    page = await duplicates.page(by, after.replace("\0", ""))
    following = urlencode({"by": by.value, "after": page.next}) if page.next else ""
    return pages.render(
        request, "duplicates.html", principal=principal, page=page, by=by.value, following=following, after=after,
        merged=merged, notice_name=notice,
    )  # fmt: skip


@router.get("/duplicates/merge")
async def compare(
    request: Request,
    principal: MayEdit,
    book: BookDep,
    id: Annotated[list[int], Query(min_length=2, max_length=MAX_MERGED)],
) -> Response:
    """The addresses side by side, a choice for every field."""
    return await _compared(request, principal, book, id)


@router.post("/duplicates/merge")
async def merge(
    request: Request, principal: MayEdit, book: BookDep, duplicates: DuplicatesDep, once: OnceDep
) -> Response:
    """Make one address of several."""
    form = await read_form(request)
    ids = [_number(one) for one in fields(form, "id")[:MAX_MERGED]]
    keep = _number(field(form, "keep"))
    choices = {name: _number(field(form, name)) for name in PLAIN_FIELDS if field(form, name)}
    versions = {str(one): _number(field(form, f"version-{one}")) for one in ids}
    data = {"keep": keep, "merge": [one for one in ids if one != keep], "choices": choices, "versions": versions}
    try:
        done = await duplicates.merge(MergeInput.model_validate(data))
    except (ValidationError, InvalidInput, EditConflict) as error:
        return await _compared(request, principal, book, ids, error, {"keep": keep, **choices})
    return await once.redirect(f"/duplicates?merged={done.id}")


@router.post("/duplicates/merges/{merge_id}/undo")
async def undo(
    request: Request, principal: MayEdit, duplicates: DuplicatesDep, once: OnceDep, merge_id: MergeId
) -> Response:
    """Undo a merge."""
    try:
        done = await duplicates.undo(merge_id)
    except (EditConflict, InvalidInput, LimitReached) as error:
        return pages.render(request, "error.html", principal=principal, status=error.status, error=error)
    return await once.redirect(f"/addresses/{done.address.id}?notice=restored")


def _number(text: str) -> int:
    """An id out of a form; raises NotFound for anything else."""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise NotFound
    return int(text)


async def _compared(
    request: Request, principal: Principal, book: AddressBook, ids: list[int],
    error: ValidationError | AppError | None = None, chosen: Mapping[str, int] | None = None,
) -> Response:  # fmt: skip
    rows = [await book.get(one) for one in dict.fromkeys(ids)]
    if len(rows) < 2:
        raise NotFound
    problems: list[Message] = []
    if isinstance(error, ValidationError):
        problems = [one.message for one in field_errors(error.errors())]
    elif isinstance(error, InvalidInput):
        problems = [one.message for one in error.errors]
    elif error is not None:
        problems = [error.detail]
    values: dict[str, Any] = {"rows": rows, "fields": PLAIN_FIELDS, "problems": problems, "typed": chosen or {}}
    status = error.status if isinstance(error, AppError) else 422 if error is not None else 200
    here = "/duplicates/merge?" + urlencode([("id", row.id) for row in rows])
    return pages.render(request, "duplicates_merge.html", principal=principal, status=status, path=here, **values)
