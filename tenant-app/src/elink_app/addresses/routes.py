"""Pages of the address book."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request
from pydantic import ValidationError
from starlette.datastructures import FormData
from starlette.responses import Response

from elink_app.accounts.permissions import Principal
from elink_app.addresses import service
from elink_app.addresses.deps import BookDep
from elink_app.addresses.repository import COUNT_CAP, Order
from elink_app.addresses.schemas import MAX_EMAILS, AddressInput, AddressOutput, AddressUpdate
from elink_app.attributes.schemas import AttributeOutput, as_typed
from elink_app.errors import AppError, EditConflict, FieldError, InvalidInput, LimitReached
from elink_app.messages import Message
from elink_app.sentforms.deps import OnceDep
from elink_app.validation import field_errors
from elink_app.web import pages
from elink_app.web.deps import MayEdit, MayView
from elink_app.web.forms import field, fields, read_form

router = APIRouter(include_in_schema=False)

AddressId = Annotated[int, Path(ge=1, le=2**63 - 1)]
_TEXT_FIELDS = ("name", "kana", "company", "phone", "postal_code", "postal_address", "notes")
_MAX_QUERY = 200


def _values(address: AddressOutput | None, own: Sequence[AttributeOutput]) -> dict[str, Any]:
    if address is None:
        empty = {attribute_box(one.key): "" for one in own}
        return {**dict.fromkeys(_TEXT_FIELDS, ""), **empty, "emails": [""], "tags": "", "version": ""}
    values = address.model_dump(include=set(_TEXT_FIELDS) | {"version"})
    room = [""] if len(address.emails) < MAX_EMAILS else []
    boxes = {attribute_box(one.key): as_typed(address.attributes.get(one.key)) for one in own}
    return {**values, **boxes, "emails": [*address.emails, *room], "tags": "、".join(address.tags)}


def attribute_box(key: str) -> str:
    """The name of the form's box for an own field."""
    return f"attributes.{key}"


def _typed(form: FormData, own: Sequence[AttributeOutput]) -> dict[str, Any]:
    """What was typed, to be shown again as it was."""
    emails = fields(form, "emails")[:MAX_EMAILS] or [""]
    return {
        **{name: field(form, name) for name in _TEXT_FIELDS},
        **{attribute_box(one.key): field(form, attribute_box(one.key)) for one in own},
        "emails": emails,
        "tags": field(form, "tags"),
        "version": field(form, "version"),
    }


def _input(form: FormData, own: Sequence[AttributeOutput]) -> dict[str, Any]:
    """The same for validation: empty e-mail boxes left out, tags taken apart."""
    typed = _typed(form, own)
    version = typed.pop("version")
    typed["attributes"] = {one.key: typed.pop(attribute_box(one.key)) for one in own}
    typed["emails"] = [email for email in typed["emails"] if email.strip()]
    typed["tags"] = [tag.strip() for tag in re.split("[,、\n]", typed["tags"]) if tag.strip()]
    if version.isascii() and version.isdigit() and 0 < int(version[:19]) < 2**63:
        typed["version"] = int(version[:19])
    return typed


@router.get("/addresses")
async def address_list(
    request: Request,
    principal: MayView,
    book: BookDep,
    q: Annotated[str, Query(max_length=_MAX_QUERY)] = "",
    tag: Annotated[str, Query(max_length=50)] = "",
    order: Order = Order.KANA,
    cursor: Annotated[str, Query(max_length=4000)] = "",
    deleted: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    notice: str = "",
) -> Response:
    """Search and leaf through the addresses."""
    # A character that PostgreSQL cannot hold matches nothing that is stored.
    text, tag = q.replace("\0", ""), tag.replace("\0", "")
    page = await book.page(service.Query(text, tag, order, cursor))

    def link(**changes: str) -> str:
        wanted = {"q": text, "tag": tag, "order": "" if order is Order.KANA else order.value, **changes}
        query = urlencode({name: value for name, value in wanted.items() if value})
        return f"/addresses?{query}" if query else "/addresses"

    removed = await book.recently_deleted_one(deleted) if deleted else None
    return pages.render(
        request,
        "addresses.html",
        principal=principal,
        page=page,
        q=text,
        tag=tag,
        order=order.value,
        link=link,
        all_tags=await book.tags(),
        columns=[one for one in await book.fields() if one.in_list],
        used=await book.used(),
        limit=book.limit,
        cap=COUNT_CAP,
        removed=removed,
        notice_name=notice,
    )


@router.get("/addresses/new")
async def new_form(request: Request, principal: MayEdit, book: BookDep) -> Response:
    """An empty form, or word that the plan is full."""
    problem = LimitReached(book.limit or 0).detail if await book.is_full() else None
    own = await book.fields()
    return _form(request, principal, None, _values(None, own), own, problem=problem)


@router.get("/addresses/deleted")
async def deleted_list(request: Request, principal: MayEdit, book: BookDep, notice: str = "") -> Response:
    """What can be brought back."""
    return pages.render(
        request, "addresses_deleted.html", principal=principal, rows=await book.recently_deleted(), notice_name=notice
    )


@router.post("/addresses")
async def create(request: Request, principal: MayEdit, book: BookDep, once: OnceDep) -> Response:
    """Save a new address."""
    form = await read_form(request)
    own = await book.fields()
    try:
        made = await book.create(AddressInput.model_validate(_without_version(_input(form, own))))
    except (ValidationError, InvalidInput, LimitReached) as error:
        return _again(request, principal, None, form, own, error)
    return await once.redirect(f"/addresses/{made.id}?notice=created")


@dataclass(frozen=True)
class EmailBox:
    """One box for an e-mail, with the errors that belong to it."""

    id: str
    value: str
    errors: list[FieldError]


def _email_boxes(emails: list[str], errors: pages.FormErrors) -> list[EmailBox]:
    """Errors of the whole list go to the first box."""
    boxes: list[EmailBox] = []
    for position, email in enumerate(emails):
        wrong = [error for error in errors.of("emails") if error.field[1:2] == (position,)]
        if position == 0:
            wrong += [error for error in errors.of("emails") if len(error.field) == 1]
        boxes.append(EmailBox(f"emails-{position}", email, wrong))
    return boxes


def _without_version(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "version"}


@router.get("/addresses/{address_id}")
async def address(
    request: Request, principal: MayView, book: BookDep, address_id: AddressId, notice: str = ""
) -> Response:
    """One address."""
    return pages.render(
        request,
        "address.html",
        principal=principal,
        address=await book.get(address_id),
        own=await book.fields(),
        notice_name=notice,
    )


@router.get("/addresses/{address_id}/edit")
async def edit_form(request: Request, principal: MayEdit, book: BookDep, address_id: AddressId) -> Response:
    """The form with what is saved."""
    found, own = await book.get(address_id), await book.fields()
    return _form(request, principal, found, _values(found, own), own)


@router.post("/addresses/{address_id}")
async def save(request: Request, principal: MayEdit, book: BookDep, address_id: AddressId, once: OnceDep) -> Response:
    """Save a changed address."""
    form = await read_form(request)
    saved, own = await book.get(address_id), await book.fields()
    try:
        await book.update(address_id, AddressUpdate.model_validate(_input(form, own)))
    except (ValidationError, InvalidInput, EditConflict) as error:
        return _again(request, principal, saved, form, own, error)
    return await once.redirect(f"/addresses/{address_id}?notice=saved")


@router.post("/addresses/{address_id}/delete")
async def delete(_principal: MayEdit, book: BookDep, address_id: AddressId) -> Response:
    """Delete; the next page offers to undo it."""
    await book.delete(address_id)
    return pages.redirect(f"/addresses?deleted={address_id}")


@router.post("/addresses/{address_id}/restore")
async def restore(request: Request, principal: MayEdit, book: BookDep, address_id: AddressId) -> Response:
    """Undo a deletion."""
    try:
        await book.restore(address_id)
    except LimitReached as error:
        return pages.render(request, "error.html", principal=principal, status=error.status, error=error)
    return pages.redirect(f"/addresses/{address_id}?notice=restored")


def _again(
    request: Request,
    principal: Principal,
    saved: AddressOutput | None,
    form: FormData,
    own: Sequence[AttributeOutput],
    error: ValidationError | AppError,
) -> Response:
    values = _typed(form, own)
    if isinstance(error, ValidationError | InvalidInput):
        found = field_errors(error.errors()) if isinstance(error, ValidationError) else error.errors
        wrong = pages.FormErrors([_at_its_box(one, values["emails"]) for one in found])
        return _form(
            request, principal, saved, values, own, errors=wrong, problem=InvalidInput(wrong.all).detail, status=422
        )
    if isinstance(error, EditConflict) and saved is not None:
        # Saving once more is then a decision made with both versions in sight.
        values["version"] = str(saved.version)
        return _form(request, principal, saved, values, own, problem=error.detail, status=409, conflict=saved)
    return _form(request, principal, saved, values, own, problem=error.detail, status=error.status)


def _at_its_box(error: FieldError, emails: list[str]) -> FieldError:
    """An error of an own field belongs to a box of its own; e-mails are counted with the empty boxes."""
    if error.field[:1] == ("emails",) and len(error.field) > 1:
        filled = [position for position, email in enumerate(emails) if email.strip()]
        return FieldError(("emails", filled[int(error.field[1])]), error.code, error.message)
    if error.field[:1] != ("attributes",) or len(error.field) == 1:
        return error
    return FieldError((attribute_box(str(error.field[1])),), error.code, error.message)


def _form(
    request: Request,
    principal: Principal,
    saved: AddressOutput | None,
    values: dict[str, Any],
    own: Sequence[AttributeOutput],
    *,
    errors: pages.FormErrors | None = None,
    problem: Message | None = None,
    conflict: AddressOutput | None = None,
    status: int = 200,
) -> Response:
    wrong = errors or pages.FormErrors()
    return pages.render(
        request,
        "address_form.html",
        principal=principal,
        status=status,
        address=saved,
        values=values,
        own=own,
        email_boxes=_email_boxes(values["emails"], wrong),
        errors=wrong,
        problem=problem,
        conflict=conflict,
    )
