"""The page of own fields."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.datastructures import FormData
from starlette.responses import Response

from elink_app.accounts.permissions import Principal
from elink_app.attributes.api import AttributeId, MayManage
from elink_app.attributes.deps import AttributesDep
from elink_app.attributes.schemas import AttributeChange, AttributeInput, AttributeType
from elink_app.attributes.service import AttributeInUse, Attributes
from elink_app.errors import FieldError, InvalidInput
from elink_app.messages import N_, Message
from elink_app.sentforms.deps import OnceDep
from elink_app.validation import field_errors
from elink_app.web import deletions, pages
from elink_app.web.deps import StateDep
from elink_app.web.forms import field, read_form

router = APIRouter(include_in_schema=False)

PATH = "/settings/attributes"


def _input(form: FormData, *names: str) -> dict[str, Any]:
    position = field(form, "position")
    return {
        **{name: field(form, name) for name in ("label", *names)},
        "required": field(form, "required") == "yes",
        "in_list": field(form, "in_list") == "yes",
        "position": int(position) if position.isascii() and position.isdigit() and len(position) < 4 else 0,
        "choices": [line.strip() for line in field(form, "choices").splitlines() if line.strip()],
    }


async def _page(
    request: Request, principal: Principal, attributes: Attributes, *, form: FormData | None = None,
    changed: int | None = None, errors: list[FieldError] | None = None, notice: str = "",
) -> Response:  # fmt: skip
    """`form`: what was typed, into the form of the field `changed`, or into that of a new one."""
    names = ("key", "label", "type", "choices", "position", "required", "in_list")
    typed = {name: field(form, name) if form is not None else "" for name in names}
    if changed is not None:
        # Every field has a form of its own on the page.
        errors = [FieldError((f"{one.field[0]}-{changed}",), one.code, one.message) for one in errors or []]
    return pages.render(
        request, "attributes.html", principal=principal, status=422 if errors else 200, rows=await attributes.all(),
        deleted=await attributes.deleted(), types=[one.value for one in AttributeType],
        typed=typed, errors=pages.FormErrors(errors), changed=changed, notice_name=notice,
    )  # fmt: skip


@router.get(PATH)
async def attribute_list(
    request: Request, principal: MayManage, attributes: AttributesDep, notice: str = ""
) -> Response:
    """The fields, and a form for a new one."""
    return await _page(request, principal, attributes, notice=notice)


@router.post(PATH)
async def create(request: Request, principal: MayManage, attributes: AttributesDep, once: OnceDep) -> Response:
    """Add a field."""
    form = await read_form(request)
    try:
        await attributes.create(AttributeInput.model_validate(_input(form, "key", "type")))
    except (ValidationError, InvalidInput) as error:
        return await _page(request, principal, attributes, form=form, errors=_errors(error))
    return await once.redirect(f"{PATH}?notice=saved")


@router.post(PATH + "/{attribute_id}")
async def save(
    request: Request, principal: MayManage, attributes: AttributesDep, attribute_id: AttributeId
) -> Response:
    """Change a field."""
    form = await read_form(request)
    try:
        await attributes.update(attribute_id, AttributeChange.model_validate(_input(form)))
    except (ValidationError, InvalidInput) as error:
        return await _page(request, principal, attributes, form=form, changed=attribute_id, errors=_errors(error))
    return pages.redirect(f"{PATH}?notice=saved")


@router.get(PATH + "/{attribute_id}/delete")
async def ask_to_delete(
    request: Request, principal: MayManage, attributes: AttributesDep, state: StateDep, attribute_id: AttributeId
) -> Response:
    """What goes with a field, or which segments name it still."""
    return await _asked(request, principal, attributes, state, attribute_id)


@router.post(PATH + "/{attribute_id}/delete")
async def delete(
    request: Request, principal: MayManage, attributes: AttributesDep, state: StateDep, attribute_id: AttributeId
) -> Response:
    """Hide a field with its values."""
    try:
        await attributes.delete(attribute_id)
    except AttributeInUse as error:
        return await _asked(request, principal, attributes, state, attribute_id, status=error.status)
    return pages.redirect(f"{PATH}?notice=deleted")


async def _asked(
    request: Request, principal: Principal, attributes: Attributes, state: StateDep, attribute_id: int, *,
    status: int = 200,
) -> Response:  # fmt: skip
    found, refused, count = await attributes.look(attribute_id)
    points = [Message(N_("Every address loses what is in it, also addresses that you may not see."))]
    if count is not None:
        text = N_("Addresses that you may see and that have something in it: %(shown)s")
        points.append(Message(text, {"shown": deletions.shown(count)}))
    asked = deletions.Deletion(
        Message(N_("Delete the field %(name)s?"), {"name": found.label}),
        PATH,
        [*points, deletions.until_erased(state.undo_window)],
        refused,
    )
    return deletions.ask(request, principal, asked, status=status)


@router.post(PATH + "/{attribute_id}/restore")
async def restore(_principal: MayManage, attributes: AttributesDep, attribute_id: AttributeId) -> Response:
    """Bring a deleted field back."""
    await attributes.restore(attribute_id)
    return pages.redirect(f"{PATH}?notice=saved")


def _errors(error: ValidationError | InvalidInput) -> list[FieldError]:
    return field_errors(error.errors()) if isinstance(error, ValidationError) else error.errors
