"""Pages of tags and information labels."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import Response

from elink_app.accounts.permissions import Principal
from elink_app.errors import FieldError, InvalidInput
from elink_app.labels.api import TagId
from elink_app.labels.deps import LabelsDep
from elink_app.labels.schemas import LabelInput, TagInput
from elink_app.labels.service import Labels, TagInUse
from elink_app.messages import N_, Message
from elink_app.roles.repository import RoleRepository
from elink_app.sentforms.deps import OnceDep
from elink_app.validation import field_errors
from elink_app.web import deletions, pages
from elink_app.web.deps import DbDep, MasterDep, MayEdit, MayView
from elink_app.web.forms import field, fields, read_form

router = APIRouter(include_in_schema=False)

RIGHTS = ("see", "export", "send")


async def _page(
    request: Request, principal: Principal, labels: Labels, db: DbDep, *, notice: str = "",
    errors: list[FieldError] | None = None, typed: str = "",
) -> Response:  # fmt: skip
    rows = await labels.all()
    roles = [(role.id, role.name) for role, _ in await RoleRepository(db).all()] if principal.is_master else []
    return pages.render(
        request, "tags.html", principal=principal, status=422 if errors else 200, rows=rows,
        counts=await labels.counts(rows), roles=roles, rights=RIGHTS, notice_name=notice,
        errors=pages.FormErrors(errors), typed=typed,
    )  # fmt: skip


@router.get("/tags")
async def tag_list(request: Request, principal: MayView, labels: LabelsDep, db: DbDep, notice: str = "") -> Response:
    """Tags with the number of addresses; for the master who may see those of labels."""
    return await _page(request, principal, labels, db, notice=notice)


@router.post("/tags")
async def create(request: Request, principal: MayEdit, labels: LabelsDep, db: DbDep, once: OnceDep) -> Response:
    """Add a tag."""
    name = field(await read_form(request), "name")
    try:
        await labels.create(TagInput(name=name))
    except (ValidationError, InvalidInput) as error:
        return await _page(request, principal, labels, db, errors=_errors(error, "name"), typed=name)
    return await once.redirect("/tags?notice=saved")


@router.post("/tags/{tag_id}")
async def rename(request: Request, principal: MayEdit, labels: LabelsDep, db: DbDep, tag_id: TagId) -> Response:
    """Rename a tag on all its addresses."""
    name = field(await read_form(request), "name")
    try:
        await labels.rename(tag_id, TagInput(name=name))
    except (ValidationError, InvalidInput) as error:
        return await _page(request, principal, labels, db, errors=_errors(error, f"name-{tag_id}"), typed=name)
    return pages.redirect("/tags?notice=saved")


@router.get("/tags/{tag_id}/delete")
async def ask_to_delete(request: Request, principal: MayEdit, labels: LabelsDep, tag_id: TagId) -> Response:
    """What goes with a tag, or which segments name it still."""
    return await _asked(request, principal, labels, tag_id)


@router.post("/tags/{tag_id}/delete")
async def delete(request: Request, principal: MayEdit, labels: LabelsDep, tag_id: TagId) -> Response:
    """Take a tag from all addresses and remove it."""
    try:
        await labels.delete(tag_id)
    except TagInUse as error:
        return await _asked(request, principal, labels, tag_id, status=error.status)
    return pages.redirect("/tags?notice=deleted")


async def _asked(
    request: Request, principal: Principal, labels: Labels, tag_id: int, *, status: int = 200
) -> Response:  # fmt: skip
    tag, refused, count = await labels.look(tag_id)
    points = [
        Message(
            N_("It is taken from all addresses. Of those that you may see, so many bear it: %(shown)s"),
            {"shown": deletions.shown(count)},
        )
    ]
    if tag.is_label:
        points.append(
            Message(N_("Whoever may see addresses will see those, too, that only this information label hides."))
        )
    question = Message(N_("Delete the tag %(name)s?"), {"name": tag.name})
    asked = deletions.Deletion(question, "/tags", [*points, deletions.FINAL], refused)
    return deletions.ask(request, principal, asked, status=status)


@router.post("/tags/{tag_id}/label")
async def set_label(request: Request, _principal: MasterDep, labels: LabelsDep, tag_id: TagId) -> Response:
    """Who may see, export and send to its addresses, or that it is a plain tag. The master only."""
    form = await read_form(request)
    known = {
        name: [int(one) for one in fields(form, name) if one.isascii() and one.isdigit() and int(one[:18]) > 0]
        for name in RIGHTS
    }
    try:
        data = LabelInput.model_validate({"is_label": field(form, "is_label") == "yes", **known})
    except ValidationError as error:
        raise InvalidInput(field_errors(error.errors())) from None
    await labels.set_label(tag_id, data)
    return pages.redirect("/tags?notice=saved")


def _errors(error: ValidationError | InvalidInput, name: str) -> list[FieldError]:
    found = field_errors(error.errors()) if isinstance(error, ValidationError) else error.errors
    return [FieldError((name,), one.code, one.message) for one in found]
