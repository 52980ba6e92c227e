"""Pages of the caller's own second factors."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from elink_app.accounts.permissions import Principal
from elink_app.errors import FieldError, InvalidInput, NotFound
from elink_app.registry.tenant import Tenant
from elink_app.security import totp
from elink_app.security.deps import OwnFactorDep
from elink_app.security.own_factor import OwnFactor
from elink_app.web import pages
from elink_app.web.deps import InPersonDep, StateDep, TenantDep
from elink_app.web.forms import field, read_form
from elink_app.web.state import WebState, client_of

router = APIRouter(include_in_schema=False)


@router.get("/account/second-factor")
async def factor_page(request: Request, principal: InPersonDep, factor: OwnFactorDep, notice: str = "") -> Response:
    """The caller's second factors, on or off."""
    return await render_factors(request, principal, factor, notice=notice)


async def render_factors(
    request: Request,
    principal: Principal,
    factor: OwnFactor,
    *,
    codes: list[str] | None = None,
    error: InvalidInput | None = None,
    form: str = "",
    passkey_name: str = "",
    notice: str = "",
) -> Response:
    """The page of the caller's factors. `form`: which of its forms is wrong (`passkey`, `codes`, else the phone's)."""
    state = await factor.state()
    # Where passkeys alone are accepted, nothing is to be tried out on a phone.
    secret = "" if state.totp or state.passkeys_only else await factor.begin()
    wrong = error.errors if error is not None else []
    if form:
        # Each form of the page asks for the password; no two fields have the same id.
        own = (f"{form}-password",)
        wrong = [FieldError(own, e.code, e.message) if e.field == ("current_password",) else e for e in wrong]
    return pages.render(
        request,
        "second_factor.html",
        principal=principal,
        status=422 if error else 200,
        path="/account/second-factor",
        state=state,
        secret=secret,
        codes=codes,
        errors=pages.FormErrors(wrong),
        passkey_name=passkey_name,
        notice_name=notice,
    )


@router.get("/account/second-factor.png")
async def factor_picture(principal: InPersonDep, tenant: TenantDep, factor: OwnFactorDep) -> Response:
    """The QR code of the secret being tried out; 404 when there is none."""
    state = await factor.state()
    if state.totp or state.passkeys_only:
        raise NotFound
    text = totp.address(await factor.begin(), principal.email, f"elink {tenant.display_name}"[:60])
    return Response(totp.picture(text), media_type="image/png")


async def _proved(request: Request, state: WebState, tenant: Tenant, principal: Principal) -> None:
    """The present password must come with what changes the second factor: an open browser is not enough."""
    form = await read_form(request)
    await state.accounts.prove(tenant, principal, field(form, "current_password"), client_of(request))


@router.post("/account/second-factor")
async def add_factor(
    request: Request, principal: InPersonDep, tenant: TenantDep, factor: OwnFactorDep, state: StateDep
) -> Response:
    """Switch it on, and show the recovery codes, this once."""
    form = await read_form(request)
    try:
        await _proved(request, state, tenant, principal)
        codes = await factor.confirm(field(form, "code")[:16])
    except InvalidInput as error:
        return await render_factors(request, principal, factor, error=error)
    return await render_factors(request, principal, factor, codes=codes)


@router.post("/account/second-factor/codes")
async def renew_codes(
    request: Request, principal: InPersonDep, tenant: TenantDep, factor: OwnFactorDep, state: StateDep
) -> Response:
    """New recovery codes."""
    try:
        await _proved(request, state, tenant, principal)
    except InvalidInput as error:
        return await render_factors(request, principal, factor, error=error, form="codes")
    return await render_factors(request, principal, factor, codes=await factor.renew_codes())


@router.post("/account/second-factor/remove")
async def remove_factor(
    request: Request, principal: InPersonDep, tenant: TenantDep, factor: OwnFactorDep, state: StateDep
) -> Response:
    """Switch it off."""
    try:
        await _proved(request, state, tenant, principal)
    except InvalidInput as error:
        return await render_factors(request, principal, factor, error=error)
    await factor.remove()
    return pages.redirect("/account/second-factor?notice=removed")
