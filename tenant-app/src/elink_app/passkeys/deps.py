"""Passkeys as dependencies of pages and API."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from elink_app.errors import CsrfRefused
from elink_app.passkeys.ceremonies import RelyingParty
from elink_app.passkeys.service import OwnPasskeys, Passkeys
from elink_app.web import csrf
from elink_app.web.deps import ActorDep, DbDep, InPersonDep, StateDep, TenantDep


def passkeys(state: StateDep) -> Passkeys:
    """The ceremonies, with transactions of their own."""
    return Passkeys(state.accounts)


def own_passkeys(db: DbDep, principal: InPersonDep, actor: ActorDep, state: StateDep) -> OwnPasskeys:
    """The caller's passkeys in the request's transaction."""
    return OwnPasskeys(db, principal, actor, state.clock)


def relying_party(state: StateDep, tenant: TenantDep) -> RelyingParty:
    """The tenant. Host and origin come from the registry and the settings, never from the request."""
    return RelyingParty(tenant.host, state.base_url(tenant), f"elink {tenant.display_name}"[:60])


def browser_secret(request: Request) -> str:
    """The secret of this browser's cookie, which its form's token was derived from."""
    usable = csrf.usable_secrets(request)
    if not usable:
        raise CsrfRefused
    return usable[0]


PasskeysDep = Annotated[Passkeys, Depends(passkeys)]
OwnPasskeysDep = Annotated[OwnPasskeys, Depends(own_passkeys)]
PartyDep = Annotated[RelyingParty, Depends(relying_party)]
BrowserDep = Annotated[str, Depends(browser_secret)]
