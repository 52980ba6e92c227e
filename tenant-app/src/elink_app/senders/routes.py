"""Pages of the sender's settings and of signing keys."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import ValidationError
from starlette.datastructures import FormData
from starlette.responses import Response

from elink_app.accounts.permissions import Principal
from elink_app.errors import EditConflict, InvalidInput
from elink_app.messages import Message
from elink_app.senders.deps import MayManageSettings, SendersDep
from elink_app.senders.schemas import DkimDomainInput, SenderAddressInput, SettingsOutput, SettingsUpdate
from elink_app.sentforms.deps import OnceDep
from elink_app.validation import field_errors
from elink_app.web import pages
from elink_app.web.deps import ActorDep
from elink_app.web.forms import field, read_form

router = APIRouter(include_in_schema=False, prefix="/settings")

Id = Annotated[int, Path(ge=1, le=2**63 - 1)]
_TEXTS = ("organisation", "postal_address", "contact", "hold_minutes", "type_count_above")
_TIMES = ("quiet_from", "quiet_until")
_BOXES = ("approval_required", "resend_unknown")
_Wrong = ValidationError | InvalidInput


def _errors(error: _Wrong) -> pages.FormErrors:
    return pages.FormErrors(error.errors if isinstance(error, InvalidInput) else field_errors(error.errors()))


def _values(settings: SettingsOutput) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(settings, name) for name in (*_TEXTS, *_BOXES, "version")}
    times = {name: getattr(settings, name) for name in _TIMES}
    return values | {name: f"{value:%H:%M}" if value else "" for name, value in times.items()}


def _typed(form: FormData) -> dict[str, Any]:
    texts = {name: field(form, name) for name in (*_TEXTS, *_TIMES, "version")}
    return texts | {name: field(form, name) == "1" for name in _BOXES}


def _input(form: FormData) -> dict[str, Any]:
    values = _typed(form)
    version = values.pop("version")
    if version.isascii() and version.isdigit() and len(version) < 19:
        values["version"] = int(version)
    return values | {name: values[name] or None for name in _TIMES}


async def _page(
    request: Request,
    principal: Principal,
    senders: SendersDep,
    *,
    values: dict[str, Any] | None = None,
    errors: pages.FormErrors | None = None,
    address_errors: pages.FormErrors | None = None,
    typed_address: dict[str, str] | None = None,
    problem: Message | None = None,
    status: int = 200,
    notice: str = "",
) -> Response:
    settings = await senders.settings()
    return pages.render(
        request,
        "settings_sender.html",
        principal=principal,
        status=status,
        settings=settings,
        values=values or _values(settings),
        errors=errors or pages.FormErrors(),
        addresses=await senders.addresses(),
        address_errors=address_errors or pages.FormErrors(),
        typed_address=typed_address or {"email": "", "name": ""},
        problem=problem,
        notice_name=notice,
    )


@router.get("/sender")
async def sender_form(
    request: Request, principal: MayManageSettings, senders: SendersDep, notice: str = ""
) -> Response:
    """The rules of sending, and who sends."""
    return await _page(request, principal, senders, notice=notice)


@router.post("/sender")
async def save(
    request: Request, principal: MayManageSettings, actor: ActorDep, senders: SendersDep, once: OnceDep
) -> Response:
    """Save the rules."""
    form = await read_form(request)
    try:
        await senders.save(actor, SettingsUpdate.model_validate(_input(form)))
    except ValidationError as error:
        return await _page(request, principal, senders, values=_typed(form), errors=_errors(error), status=422)
    except EditConflict as error:
        values = {**_typed(form), "version": (await senders.settings()).version}
        return await _page(request, principal, senders, values=values, problem=error.detail, status=409)
    return await once.redirect("/settings/sender?notice=saved")


@router.post("/sender/addresses")
async def add_address(
    request: Request, principal: MayManageSettings, actor: ActorDep, senders: SendersDep, once: OnceDep
) -> Response:
    """Allow a sender."""
    form = await read_form(request)
    typed = {"email": field(form, "email"), "name": field(form, "name")}
    try:
        await senders.add_address(actor, SenderAddressInput.model_validate(typed))
    except (ValidationError, InvalidInput) as error:
        return await _page(request, principal, senders, address_errors=_errors(error), typed_address=typed, status=422)
    return await once.redirect("/settings/sender?notice=address-added")


@router.post("/sender/addresses/{address_id}/delete")
async def remove_address(
    _principal: MayManageSettings, actor: ActorDep, senders: SendersDep, address_id: Id
) -> Response:
    """Allow a sender no longer."""
    await senders.remove_address(actor, address_id)
    return pages.redirect("/settings/sender?notice=address-removed")


@router.get("/dkim")
async def keys(request: Request, principal: MayManageSettings, senders: SendersDep, notice: str = "") -> Response:
    """Signing keys and the DNS records to publish."""
    return await _keys(request, principal, senders, notice=notice)


async def _keys(
    request: Request,
    principal: Principal,
    senders: SendersDep,
    *,
    errors: pages.FormErrors | None = None,
    notice: str = "",
) -> Response:
    return pages.render(
        request,
        "settings_dkim.html",
        principal=principal,
        status=422 if errors else 200,
        keys=await senders.keys(),
        domains=await senders.domains(),
        errors=errors or pages.FormErrors(),
        notice_name=notice,
    )


@router.post("/dkim")
async def make_key(
    request: Request, principal: MayManageSettings, actor: ActorDep, senders: SendersDep, once: OnceDep
) -> Response:
    """Make a key."""
    form = await read_form(request)
    try:
        wanted = DkimDomainInput.model_validate({"domain": field(form, "domain")})
        await senders.make_key(actor, wanted.domain)
    except (ValidationError, InvalidInput) as error:
        return await _keys(request, principal, senders, errors=_errors(error))
    return await once.redirect("/settings/dkim?notice=made")


@router.post("/dkim/{key_id}/activate")
async def activate_key(_principal: MayManageSettings, actor: ActorDep, senders: SendersDep, key_id: Id) -> Response:
    """Sign with this key from now on."""
    await senders.activate_key(actor, key_id)
    return pages.redirect("/settings/dkim?notice=activated")


@router.post("/dkim/{key_id}/delete")
async def remove_key(
    request: Request, principal: MayManageSettings, actor: ActorDep, senders: SendersDep, key_id: Id
) -> Response:
    """Delete a key that does not sign."""
    try:
        await senders.remove_key(actor, key_id)
    except InvalidInput as error:
        return await _keys(request, principal, senders, errors=_errors(error))
    return pages.redirect("/settings/dkim?notice=deleted")
