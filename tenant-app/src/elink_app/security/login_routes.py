"""Pages before a log-in is complete: links that set a password, and the second factor."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.background import BackgroundTask
from starlette.responses import Response

from elink_app.accounts.service import LoggedIn
from elink_app.errors import InvalidInput, TooManyAttempts, Unauthenticated
from elink_app.messages import N_, Message
from elink_app.registry.tenant import Tenant
from elink_app.security.deps import CredentialsDep
from elink_app.security.service import Credentials
from elink_app.web import cookies, pages
from elink_app.web.deps import StateDep, TenantDep
from elink_app.web.forms import field, read_form, safe_next
from elink_app.web.state import WebState, client_of

router = APIRouter(include_in_schema=False)

_CODE_WRONG = N_("This code is not right, or it was used already. Wait for the next one.")
_PASSKEYS_ONLY = N_("Your organisation accepts passkeys only. Use your passkey.")
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
        request, "welcome.html", status=status, headers=_NO_REFERRER, path=f"/welcome?{urlencode({'token': token})}",
        found=found, token=token, errors=errors,
    )  # fmt: skip


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
async def second_form(request: Request, tenant: TenantDep, links: CredentialsDep, next: str = "/") -> Response:
    """Ask for the code of the phone, or for a passkey."""
    ways = await links.ways(tenant, cookies.session_secret(request) or "")
    return pages.render(request, "second.html", next=safe_next(next), failure=None, ways=ways)


@router.post("/login/second")
async def second(request: Request, state: StateDep, tenant: TenantDep, links: CredentialsDep) -> Response:
    """Finish the log-in."""
    form = await read_form(request)
    wanted, secret = safe_next(field(form, "next")), cookies.session_secret(request) or ""
    ways = await links.ways(tenant, secret)
    wrong = Message(_CODE_WRONG if ways.codes else _PASSKEYS_ONLY)
    failure, status, headers = wrong, 401, {"WWW-Authenticate": 'Session realm="elink"'}
    try:
        found = await links.second_factor(tenant, secret, field(form, "code")[:64], client_of(request))
        if found is not None:
            return _logged_in(state, LoggedIn(found), wanted)
    except Unauthenticated:
        return pages.redirect(f"/login?{urlencode({'next': wanted})}")
    except TooManyAttempts as error:
        failure, status, headers = error.detail, error.status, error.headers
    return pages.render(request, "second.html", status=status, headers=headers, next=wanted, failure=failure, ways=ways)
