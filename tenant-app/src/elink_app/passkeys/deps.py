"""Passkeys as dependencies of pages and API."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from elink_app.errors import CsrfRefused
from elink_app.passkeys.ceremonies import RelyingParty
from elink_app.passkeys.service import Ceremony, OwnPasskeys, Passkeys
from elink_app.web import csrf
from elink_app.web.deps import ActorDep, DbDep, InPersonDep, StateDep, TenantDep
from elink_app.web.state import client_of


def passkeys(state: StateDep) -> Passkeys:
    """The ceremonies, with transactions of their own."""
    return Passkeys(state.accounts)


def own_passkeys(db: DbDep, principal: InPersonDep, actor: ActorDep, state: StateDep) -> OwnPasskeys:
    """The caller's passkeys in the request's transaction."""
    return OwnPasskeys(db, principal, actor, state.clock)


def ceremony(request: Request, state: StateDep, tenant: TenantDep) -> Ceremony:
    """This browser, by the secret of the cookie that its form's token was derived from, and the tenant.

    Host and origin come from the registry and the settings, never from the request.
    """
    usable = csrf.usable_secrets(request)
    if not usable:
        raise CsrfRefused
    party = RelyingParty(tenant.host, state.base_url(tenant), f"elink {tenant.display_name}"[:60])
    return Ceremony(tenant, party, client_of(request), usable[0])


PasskeysDep = Annotated[Passkeys, Depends(passkeys)]
OwnPasskeysDep = Annotated[OwnPasskeys, Depends(own_passkeys)]
CeremonyDep = Annotated[Ceremony, Depends(ceremony)]
