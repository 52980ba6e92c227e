"""Pages of log-in, set-up, log-out, sessions, password and language."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from elink_app.accounts.service import SetupLink
from elink_app.audit.service import record
from elink_app.errors import PASSKEYS_ONLY_NOW, InvalidInput, NotFound, TooManyAttempts
from elink_app.messages import N_, Message
from elink_app.web import cookies, pages
from elink_app.web.deps import ActorDep, DbDep, InPersonDep, SessionsDep, StateDep, TenantDep
from elink_app.web.forms import field, read_form, safe_next
from elink_app.web.i18n import LANGUAGES
from elink_app.web.state import WebState, client_of

router = APIRouter(include_in_schema=False)

SessionId = Annotated[int, Path(ge=1, le=2**63 - 1)]
_WRONG = N_("The e-mail or the password is not right. Check both and try again.")
_LINK_STATUS = {SetupLink.VALID: 200, SetupLink.USED: 410, SetupLink.EXPIRED: 410, SetupLink.UNKNOWN: 404}
# The address of the page holds the token: a referrer must not carry it, not even into the gateway's own log. (With
# `no-referrer` the form would be sent with `Origin: null`.)
_NO_REFERRER = {"Referrer-Policy": "strict-origin"}


def _welcome(state: WebState, secret: str, path: str) -> Response:
    response = pages.redirect(path)
    cookies.set_session(response, secret, int(state.session_policy.absolute.total_seconds()))
    return response


@router.get("/login")
async def login_form(
    request: Request, sessions: SessionsDep, next: str = "/", notice: Annotated[str, Query()] = ""
) -> Response:
    """The log-in form; whoever is logged in goes on."""
    secret = cookies.session_secret(request)
    principal = await sessions.identify(secret) if secret else None
    if principal is not None and not principal.must_use_passkey:
        return pages.redirect(safe_next(next))
    failure = Message(PASSKEYS_ONLY_NOW) if principal is not None else None
    return pages.render(
        request, "login.html", email="", next=safe_next(next), failure=failure, logged_out=notice == "logged-out"
    )


@router.post("/login")
async def log_in(request: Request, state: StateDep, tenant: TenantDep) -> Response:
    """Check the e-mail and password."""
    form = await read_form(request)
    email, wanted = field(form, "email")[:320], safe_next(field(form, "next"))
    failure, status, headers = Message(_WRONG), 401, {"WWW-Authenticate": 'Session realm="elink"'}
    try:
        found = await state.accounts.log_in(
            tenant,
            email,
            field(form, "password"),
            client_of(request),
            replaces=cookies.session_secret(request),
        )
        if found is not None:
            second = f"/login/second?{urlencode({'next': wanted})}"
            return _welcome(state, found.secret, second if found.awaits_factor else wanted)
    except TooManyAttempts as error:
        failure, status, headers = error.detail, error.status, error.headers
    return pages.render(
        request,
        "login.html",
        status=status,
        headers=headers,
        email=email,
        next=wanted,
        failure=failure,
        logged_out=False,
    )


@router.post("/logout")
async def log_out(request: Request, sessions: SessionsDep) -> Response:
    """End the session."""
    secret = cookies.session_secret(request)
    if secret:
        await sessions.close(secret)
    response = pages.redirect("/login?notice=logged-out")
    cookies.clear(response, cookies.SESSION)
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


@router.get("/setup")
async def setup_form(request: Request, state: StateDep, tenant: TenantDep, token: str = "") -> Response:
    """Show the form of a set-up link. Looking at it uses nothing up: mail scanners do that too."""
    link = await state.accounts.check_setup_link(tenant, token)
    return _setup_page(request, link, token, pages.FormErrors())


@router.post("/setup")
async def set_up(request: Request, state: StateDep, tenant: TenantDep) -> Response:
    """Use the link: make the master account and log it in."""
    form = await read_form(request)
    token = field(form, "token")
    try:
        result = await state.accounts.set_up_master(
            tenant,
            token,
            field(form, "password"),
            field(form, "password_repeated"),
            client_of(request),
            replaces=cookies.session_secret(request),
        )
    except InvalidInput as error:
        return _setup_page(request, SetupLink.VALID, token, pages.FormErrors(error.errors), status=422)
    if isinstance(result, SetupLink):
        return _setup_page(request, result, "", pages.FormErrors())
    return _welcome(state, result, "/?notice=welcome")


def _setup_page(
    request: Request, link: SetupLink, token: str, errors: pages.FormErrors, status: int | None = None
) -> Response:
    return pages.render(
        request,
        "setup.html",
        status=status or _LINK_STATUS[link],
        headers=_NO_REFERRER,
        path=f"/setup?{urlencode({'token': token})}",
        link=link.name,
        token=token if link is SetupLink.VALID else "",
        errors=errors,
    )


@router.get("/account")
async def account(
    request: Request, principal: InPersonDep, sessions: SessionsDep, notice: Annotated[str, Query()] = ""
) -> Response:
    """The account's own page: where it is logged in, and its password."""
    return pages.render(
        request,
        "account.html",
        principal=principal,
        sessions=await sessions.of(principal),
        notice_name=notice,
        errors=pages.FormErrors(),
    )


@router.post("/account/sessions/{session_id}/revoke")
async def revoke(
    principal: InPersonDep, actor: ActorDep, sessions: SessionsDep, db: DbDep, state: StateDep, session_id: SessionId
) -> Response:
    """Log another browser out."""
    if not await sessions.revoke(principal, session_id):
        raise NotFound
    await record(db, actor, "account.end_session", kind="account", key=str(principal.account_id), now=state.clock())
    return pages.redirect("/account?notice=revoked")


@router.post("/account/sessions/revoke-others")
async def revoke_others(
    principal: InPersonDep, actor: ActorDep, sessions: SessionsDep, db: DbDep, state: StateDep
) -> Response:
    """Log all other browsers out."""
    if count := await sessions.revoke_others(principal):
        key, after = str(principal.account_id), {"count": count}
        await record(db, actor, "account.end_sessions", kind="account", key=key, after=after, now=state.clock())
    return pages.redirect("/account?notice=revoked")


@router.post("/account/password")
async def change_password(
    request: Request, state: StateDep, tenant: TenantDep, principal: InPersonDep, sessions: SessionsDep
) -> Response:
    """Change the password; every other browser is logged out."""
    form = await read_form(request)
    try:
        secret = await state.accounts.change_password(
            tenant,
            principal,
            field(form, "current_password"),
            field(form, "password"),
            field(form, "password_repeated"),
            client_of(request),
        )
    except InvalidInput as error:
        return pages.render(
            request,
            "account.html",
            principal=principal,
            status=422,
            sessions=await sessions.of(principal),
            notice_name="",
            errors=pages.FormErrors(error.errors),
        )
    return _welcome(state, secret, "/account?notice=password-changed")


@router.post("/language")
async def choose_language(request: Request) -> Response:
    """Remember the language of this browser."""
    form = await read_form(request)
    response = pages.redirect(safe_next(field(form, "next")))
    if field(form, "language") in LANGUAGES:
        cookies.set_language(response, field(form, "language"))
    return response
