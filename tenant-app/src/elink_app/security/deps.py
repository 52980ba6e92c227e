"""Second factor, rules and links as dependencies of pages."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from elink_app.security.master import MasterSettings
from elink_app.security.own_factor import OwnFactor
from elink_app.security.service import Credentials
from elink_app.web.deps import ActorDep, DbDep, InPersonDep, StateDep


def credentials(state: StateDep) -> Credentials:
    """Links and second factor, with transactions of their own."""
    return Credentials(state.accounts)


def own_factor(db: DbDep, principal: InPersonDep, actor: ActorDep, state: StateDep) -> OwnFactor:
    """The caller's second factor in the request's transaction."""
    return OwnFactor(db, principal, actor, state.clock())


def master_settings(db: DbDep, actor: ActorDep, state: StateDep) -> MasterSettings:
    """The tenant's rules in the request's transaction."""
    return MasterSettings(db, actor, state.clock())


CredentialsDep = Annotated[Credentials, Depends(credentials)]
OwnFactorDep = Annotated[OwnFactor, Depends(own_factor)]
MasterSettingsDep = Annotated[MasterSettings, Depends(master_settings)]
