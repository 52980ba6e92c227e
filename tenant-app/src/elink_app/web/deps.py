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


async def current_principal(request: Request, sessions: SessionsDep, db: DbDep, state: StateDep) -> Principal:
    """Who makes this request; raises Unauthenticated. The one place where a request is given an identity.

    Raises ActFirst while the account must do something of its own before it may go on.
    """
    token, secret = bearer_token(request.scope), cookies.session_secret(request)
    if token is not None:
        principal = await Tokens(db, state.clock).identify(token)
    else:
        principal = await sessions.identify(secret) if secret else None
        if sessions.to_touch is not None:
            # Not in the request's transaction: a route that ends this session in one of its own would wait for it.
            async with state.databases.transaction(tenant_of(request)) as own:
                await sessions_for(own, state).touch(sessions.to_touch)
    if principal is None:
        raise Unauthenticated
    if principal.must_use_passkey:
        raise Unauthenticated.by_passkey_rule()
    if not request.url.path.startswith(_OWN_PAGES):
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
