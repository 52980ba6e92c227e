"""Pages of passkeys. The browser's own dialogue needs a script (static/passkey.js); everything else works without."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Request
from pydantic import ValidationError
from starlette.responses import Response

from elink_app.accounts.permissions import Principal
from elink_app.errors import FieldError, InvalidInput, TooManyAttempts, Unauthenticated
from elink_app.messages import N_, Message
from elink_app.passkeys.deps import CeremonyDep, OwnPasskeysDep, PasskeysDep
from elink_app.passkeys.schemas import PasskeyName
from elink_app.passkeys.service import OwnPasskeys
from elink_app.security.deps import OwnFactorDep
from elink_app.security.factor_routes import render_factors
from elink_app.validation import field_errors
from elink_app.web import cookies, pages
from elink_app.web.deps import InPersonDep, StateDep, TenantDep
from elink_app.web.forms import field, read_form, safe_next
from elink_app.web.state import client_of

router = APIRouter(include_in_schema=False)

PasskeyId = Annotated[int, Path(ge=1, le=2**63 - 1)]
_NOT_MADE = N_("The passkey could not be saved. Begin once more.")
_NOT_PROVED = N_("The passkey was not accepted. Try again, or use your password.")
_PAGE = "/account/second-factor"


def _name(form_name: str) -> PasskeyName:
    """Raises InvalidInput."""
    try:
        return PasskeyName(name=form_name)
    except ValidationError as error:
        raise InvalidInput(field_errors(error.errors())) from None


@router.post("/account/passkeys/new")
async def begin_new(
    request: Request, principal: InPersonDep, passkeys: PasskeysDep, ceremony: CeremonyDep, factor: OwnFactorDep
) -> Response:
    """After the password: the page on which the browser makes the passkey."""
    form = await read_form(request)
    name, password = field(form, "name"), field(form, "current_password")
    try:
        data = _name(name)
        options = await passkeys.begin_new(ceremony, principal, password)
    except InvalidInput as error:
        return await render_factors(request, principal, factor, error=error, form="passkey", passkey_name=name)
    return pages.render(
        request, "passkey_new.html", principal=principal, path=_PAGE, options=options, name=data.name
    )  # fmt: skip


@router.post("/account/passkeys")
async def finish_new(
    request: Request, principal: InPersonDep, passkeys: PasskeysDep, ceremony: CeremonyDep, factor: OwnFactorDep
) -> Response:
    """Keep what the browser made; with the first factor, show the recovery codes, this once."""
    form = await read_form(request)
    name, answer = field(form, "name"), field(form, "credential")
    try:
        codes = await passkeys.finish_new(ceremony, principal, _name(name), answer)
        if codes is None:
            raise InvalidInput([FieldError(("name",), "passkey", Message(_NOT_MADE))])
    except InvalidInput as error:
        return await render_factors(request, principal, factor, error=error, form="passkey", passkey_name=name)
    return await render_factors(request, principal, factor, codes=codes, notice="passkey-added")


@router.get("/account/passkeys/{passkey_id}")
async def passkey_page(
    request: Request, principal: InPersonDep, own: OwnPasskeysDep, passkey_id: PasskeyId, notice: str = ""
) -> Response:
    """One passkey: rename it, remove it."""
    return await _page(request, principal, own, passkey_id, notice=notice)


@router.post("/account/passkeys/{passkey_id}")
async def rename(request: Request, principal: InPersonDep, own: OwnPasskeysDep, passkey_id: PasskeyId) -> Response:
    """Give it another name."""
    form = await read_form(request)
    try:
        await own.rename(passkey_id, _name(field(form, "name")))
    except InvalidInput as error:
        wrong = pages.FormErrors(error.errors)
        return await _page(request, principal, own, passkey_id, wrong, typed=field(form, "name"))
    return pages.redirect(f"/account/passkeys/{passkey_id}?notice=saved")


@router.post("/account/passkeys/{passkey_id}/remove")
async def remove(
    request: Request,
    principal: InPersonDep,
    tenant: TenantDep,
    state: StateDep,
    own: OwnPasskeysDep,
    passkey_id: PasskeyId,
) -> Response:
    """Forget it. The present password must come with it, as for every change of a factor."""
    form = await read_form(request)
    try:
        await state.accounts.prove(tenant, principal, field(form, "current_password"), client_of(request))
    except InvalidInput as error:
        return await _page(request, principal, own, passkey_id, pages.FormErrors(error.errors))
    await own.remove(passkey_id)
    return pages.redirect(f"{_PAGE}?notice=passkey-removed")


async def _page(
    request: Request,
    principal: Principal,
    own: OwnPasskeys,
    passkey_id: int,
    errors: pages.FormErrors | None = None,
    notice: str = "",
    typed: str | None = None,
) -> Response:
    passkey = await own.get(passkey_id)
    return pages.render(
        request,
        "passkey.html",
        principal=principal,
        status=422 if errors else 200,
        passkey=passkey,
        name=passkey.name if typed is None else typed,
        errors=errors or pages.FormErrors(),
        notice_name=notice,
    )


@router.post("/login/passkey/start")
async def begin_log_in(request: Request, passkeys: PasskeysDep, ceremony: CeremonyDep) -> Response:
    """The page on which the browser asks for a passkey, in place of e-mail and password."""
    wanted = safe_next(field(await read_form(request), "next"))
    try:
        options = await passkeys.begin_log_in(ceremony)
    except TooManyAttempts as error:
        return _refused(request, wanted, error.detail, error.status, error.headers)
    return _ask(request, options, wanted, "/login")


@router.post("/login/second/passkey")
async def begin_second(request: Request, passkeys: PasskeysDep, ceremony: CeremonyDep) -> Response:
    """The same after the password."""
    wanted = safe_next(field(await read_form(request), "next"))
    query = urlencode({"next": wanted})
    try:
        options = await passkeys.begin_second(ceremony)
    except Unauthenticated:
        return pages.redirect(f"/login?{query}")
    except TooManyAttempts as error:
        return _refused(request, wanted, error.detail, error.status, error.headers)
    return _ask(request, options, wanted, f"/login/second?{query}")


@router.post("/login/passkey")
async def finish(request: Request, state: StateDep, passkeys: PasskeysDep, ceremony: CeremonyDep) -> Response:
    """Log in with what the browser answered."""
    form = await read_form(request)
    wanted = safe_next(field(form, "next"))
    secret = await passkeys.finish(ceremony, field(form, "credential"))
    if secret is None:
        headers = {"WWW-Authenticate": 'Session realm="elink"'}
        return _refused(request, wanted, Message(_NOT_PROVED), 401, headers)
    response = pages.redirect(wanted)
    cookies.set_session(response, secret, int(state.session_policy.absolute.total_seconds()))
    return response


def _ask(request: Request, options: str, wanted: str, back: str) -> Response:
    return pages.render(request, "passkey_login.html", path=back, options=options, next=wanted, back=back)


def _refused(request: Request, wanted: str, failure: Message, status: int, headers: dict[str, str]) -> Response:
    return pages.render(
        request,
        "login.html",
        status=status,
        headers=headers,
        path="/login",
        email="",
        next=wanted,
        failure=failure,
        logged_out=False,
    )
