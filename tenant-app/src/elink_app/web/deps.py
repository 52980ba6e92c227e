"""What routes ask for. Nothing here can be forgotten silently: without a principal a route has no address book."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.permissions import Permission, Principal
from elink_app.accounts.sessions import Sessions
from elink_app.audit.service import Actor
from elink_app.errors import ActFirst, Forbidden, Unauthenticated
from elink_app.registry.tenant import Tenant
from elink_app.tokens.service import Tokens
from elink_app.web import cookies
from elink_app.web.csrf import bearer_token
from elink_app.web.state import WebState, client_of, state_of, tenant_of


async def _transaction(request: Request) -> AsyncIterator[AsyncSession]:
    async with state_of(request).databases.transaction(tenant_of(request)) as session:
        yield session


StateDep = Annotated[WebState, Depends(state_of)]
TenantDep = Annotated[Tenant, Depends(tenant_of)]
# Scope "function": committed before the answer is sent, so that nobody is told of a success that did not happen.
DbDep = Annotated[AsyncSession, Depends(_transaction, scope="function")]


def sessions_for(db: DbDep, state: StateDep) -> Sessions:
    """The sessions of this tenant, in the request's transaction."""
    return Sessions(db, state.clock, state.session_policy)


SessionsDep = Annotated[Sessions, Depends(sessions_for)]


_OWN_PAGES = ("/account", "/api/v1/session", "/api/v1/account")
# A token would outlive the step that is due.
_OWN_TOKENS = "/account/tokens"


async def _identified(request: Request, state: WebState) -> Principal | None:
    """In a transaction that is over before the route begins: many routes work with transactions of their own, and
    requests that held a connection meanwhile would wait for each other as soon as there are as many as connections."""
    token, secret = bearer_token(request.scope), cookies.session_secret(request)
    if token is None and not secret:
        return None
    async with state.databases.transaction(tenant_of(request)) as db:
        if token is not None:
            return await Tokens(db, state.clock).identify(token)
        return await Sessions(db, state.clock, state.session_policy).use(secret or "")


async def current_principal(request: Request, state: StateDep) -> Principal:
    """Who makes this request; raises Unauthenticated. The one place where a request is given an identity.

    Raises ActFirst while the account must do something of its own before it may go on.
    """
    principal = await _identified(request, state)
    if principal is None:
        raise Unauthenticated
    if principal.must_use_passkey:
        raise Unauthenticated.by_passkey_rule()
    path = request.url.path
    if not path.startswith(_OWN_PAGES) or path.startswith(_OWN_TOKENS):
        if principal.must_change_password:
            raise ActFirst.by_password()
        if principal.must_add_factor:
            raise ActFirst.by_second_factor()
    return principal


PrincipalDep = Annotated[Principal, Depends(current_principal)]


def actor_of(request: Request, principal: PrincipalDep) -> Actor:
    """The author of what this request does, for the audit log."""
    return Actor(principal.account_id, principal.email, client_of(request).address)


ActorDep = Annotated[Actor, Depends(actor_of)]


def require(permission: Permission) -> Callable[[Principal], Coroutine[Any, Any, Principal]]:
    """A dependency that lets only accounts with `permission` pass."""

    async def permitted(principal: PrincipalDep) -> Principal:
        if not principal.may(permission):
            raise Forbidden
        return principal

    return permitted


async def in_person(principal: PrincipalDep) -> Principal:
    """Only a log-in passes, no token: secrets of the account are not given out to programs."""
    if principal.session_id is None:
        raise Forbidden
    return principal


InPersonDep = Annotated[Principal, Depends(in_person)]


async def master_in_person(principal: InPersonDep) -> Principal:
    """Only the master passes, logged in."""
    if not principal.is_master:
        raise Forbidden
    return principal


MasterDep = Annotated[Principal, Depends(master_in_person)]
MayManageUsers = Annotated[Principal, Depends(require(Permission.USERS_MANAGE))]
MayViewAudit = Annotated[Principal, Depends(require(Permission.AUDIT_VIEW))]
MayView = Annotated[Principal, Depends(require(Permission.ADDRESSES_VIEW))]
MayEdit = Annotated[Principal, Depends(require(Permission.ADDRESSES_EDIT))]
