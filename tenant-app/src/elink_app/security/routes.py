"""Pages of links, the second factor, the master's rules and the transfer of his place."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.background import BackgroundTask
from starlette.responses import Response

from elink_app.accounts.permissions import Principal
from elink_app.accounts.service import LoggedIn
from elink_app.errors import FieldError, InvalidInput, NotFound, TooManyAttempts, Unauthenticated
from elink_app.messages import N_, Message
from elink_app.passkeys.deps import PasskeysDep
from elink_app.registry.tenant import Tenant
from elink_app.security import totp
from elink_app.security.deps import CredentialsDep, MasterSettingsDep, OwnFactorDep
from elink_app.security.own_factor import OwnFactor
from elink_app.security.service import Credentials, MasterSettings
from elink_app.web import cookies, pages
from elink_app.web.deps import InPersonDep, MasterDep, StateDep, TenantDep
from elink_app.web.forms import field, read_form, safe_next
from elink_app.web.state import WebState, client_of

router = APIRouter(include_in_schema=False)

_CODE_WRONG = N_("This code is not right, or it was used already. Wait for the next one.")
# As with the set-up link: the address of the page holds the token.
_NO_REFERRER = {"Referrer-Policy": "strict-origin"}


def _logged_in(state: WebState, found: LoggedIn, path: str) -> Response:
    second = f"/login/second?{urlencode({'next': path})}"
    response = pages.redirect(second if found.awaits_factor else path)
    cookies.set_session(response, found.secret, int(state.session_policy.absolute.total_seconds()))
    return response


@router.get("/welcome")
async def link_form(request: Request, tenant: TenantDep, links: CredentialsDep, token: str = "") -> Response:
    """The form of an invitation or of a link for a new password."""
    return await _link_page(request, tenant, links, token, pages.FormErrors())


@router.post("/welcome")
async def use_link(request: Request, state: StateDep, tenant: TenantDep, links: CredentialsDep) -> Response:
    """Set the password and log in."""
    form = await read_form(request)
    token = field(form, "token")
    password, repeated = field(form, "password"), field(form, "password_repeated")
    try:
        found = await links.use_link(
            tenant, token, password, repeated, client_of(request), replaces=cookies.session_secret(request)
        )
    except InvalidInput as error:
        return await _link_page(request, tenant, links, token, pages.FormErrors(error.errors))
    if found is None:
        return await _link_page(request, tenant, links, "", pages.FormErrors())
    return _logged_in(state, found, "/")


async def _link_page(
    request: Request, tenant: Tenant, links: Credentials, token: str, errors: pages.FormErrors
) -> Response:
    found = await links.look_at_link(tenant, token)
    status = 422 if errors else 200 if found else 410
    return pages.render(
        request, "welcome.html", status=status, headers=_NO_REFERRER, found=found, token=token, errors=errors
    )


@router.get("/login/forgotten")
async def forgotten_form(request: Request) -> Response:
    """Ask for the e-mail."""
    return pages.render(request, "forgotten.html", asked=False, failure=None)


@router.post("/login/forgotten")
async def forgotten(request: Request, state: StateDep, tenant: TenantDep, links: CredentialsDep) -> Response:
    """The same answer for everybody, sent before anything is looked up."""
    form = await read_form(request)
    client, email = client_of(request), field(form, "email")[:320].replace("\0", "")
    try:
        await links.count_request(tenant, client)
    except TooManyAttempts as error:
        return pages.render(
            request, "forgotten.html", status=error.status, headers=error.headers, asked=False, failure=error.detail
        )
    response = pages.render(request, "forgotten.html", asked=True, failure=None)

    async def send() -> None:
        if await links.send_reset(tenant, email, client, state.base_url(tenant)):
            await state.wakeups.wake(tenant.name)

    response.background = BackgroundTask(send)
    return response


@router.get("/login/second")
async def second_form(request: Request, tenant: TenantDep, passkeys: PasskeysDep, next: str = "/") -> Response:
    """Ask for the code of the phone, or for a passkey."""
    asked = await passkeys.is_asked(tenant, cookies.session_secret(request) or "")
    return pages.render(request, "second.html", next=safe_next(next), failure=None, passkey=asked)


@router.post("/login/second")
async def second(
    request: Request, state: StateDep, tenant: TenantDep, links: CredentialsDep, passkeys: PasskeysDep
) -> Response:
    """Finish the log-in."""
    form = await read_form(request)
    wanted, secret = safe_next(field(form, "next")), cookies.session_secret(request) or ""
    failure, status, headers = Message(_CODE_WRONG), 401, {"WWW-Authenticate": 'Session realm="elink"'}
    try:
        found = await links.second_factor(tenant, secret, field(form, "code")[:64], client_of(request))
        if found is not None:
            return _logged_in(state, LoggedIn(found), wanted)
    except Unauthenticated:
        return pages.redirect(f"/login?{urlencode({'next': wanted})}")
    except TooManyAttempts as error:
        failure, status, headers = error.detail, error.status, error.headers
    asked = await passkeys.is_asked(tenant, secret)
    return pages.render(
        request, "second.html", status=status, headers=headers, next=wanted, failure=failure, passkey=asked
    )


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
        state=state,
        secret="" if state.totp else await factor.begin(),
        codes=codes,
        errors=pages.FormErrors(wrong),
        passkey_name=passkey_name,
        notice_name=notice,
    )


@router.get("/account/second-factor.png")
async def factor_picture(principal: InPersonDep, tenant: TenantDep, factor: OwnFactorDep) -> Response:
    """The QR code of the secret being tried out; 404 when the factor is on."""
    if (await factor.state()).totp:
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


@router.get("/settings/security")
async def rules_page(
    request: Request, principal: MasterDep, rules: MasterSettingsDep, notice: Annotated[str, Query()] = ""
) -> Response:
    """What the master demands of all."""
    demanded = await rules.second_factor_for_all()
    return pages.render(request, "security.html", principal=principal, demanded=demanded, notice_name=notice)


@router.post("/settings/security")
async def save_rules(request: Request, _principal: MasterDep, rules: MasterSettingsDep) -> Response:
    """Save the rules."""
    form = await read_form(request)
    await rules.demand_second_factor(field(form, "second_factor_for_all") == "yes")
    return pages.redirect("/settings/security?notice=saved")


@router.get("/settings/master")
async def transfer_page(
    request: Request, principal: InPersonDep, rules: MasterSettingsDep, notice: str = ""
) -> Response:
    """The transfer as the master and the one to whom it is offered see it; for others there is nothing here."""
    return await _transfer_page(request, principal, rules, notice=notice)


@router.post("/settings/master")
async def offer_master(
    request: Request,
    principal: MasterDep,
    tenant: TenantDep,
    links: CredentialsDep,
    rules: MasterSettingsDep,
    state: StateDep,
) -> Response:
    """Offer the master's place."""
    form = await read_form(request)
    to, password = field(form, "to"), field(form, "current_password")
    wanted = int(to) if to.isascii() and to.isdigit() and len(to) < 19 else 0
    try:
        await links.offer_master(tenant, principal, wanted, password, client_of(request), state.base_url(tenant))
    except InvalidInput as error:
        return await _transfer_page(request, principal, rules, errors=pages.FormErrors(error.errors))
    await state.wakeups.wake(tenant.name)
    return pages.redirect("/settings/master?notice=offered")


@router.post("/settings/master/accept")
async def accept_master(
    request: Request, principal: InPersonDep, tenant: TenantDep, links: CredentialsDep, rules: MasterSettingsDep
) -> Response:
    """Become the master."""
    form = await read_form(request)
    try:
        await links.accept_master(tenant, principal, field(form, "current_password"), client_of(request))
    except InvalidInput as error:
        return await _transfer_page(request, principal, rules, errors=pages.FormErrors(error.errors))
    return pages.redirect("/settings/master?notice=accepted")


@router.post("/settings/master/end")
async def end_offer(principal: InPersonDep, rules: MasterSettingsDep) -> Response:
    """Withdraw or decline the offer."""
    await rules.end_offer(principal)
    return pages.redirect("/settings/master?notice=ended" if principal.is_master else "/")


async def _transfer_page(
    request: Request,
    principal: Principal,
    rules: MasterSettings,
    *,
    errors: pages.FormErrors | None = None,
    notice: str = "",
) -> Response:
    offer = await rules.offer()
    if not principal.is_master and (offer is None or offer.to_id != principal.account_id):
        raise NotFound
    return pages.render(
        request,
        "transfer.html",
        principal=principal,
        status=422 if errors else 200,
        offer=offer,
        candidates=await rules.candidates() if principal.is_master else [],
        errors=errors or pages.FormErrors(),
        notice_name=notice,
    )
