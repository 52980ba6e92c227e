"""Roles as a dependency of pages and API."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from elink_app.roles.service import Roles
from elink_app.web.deps import ActorDep, DbDep, MayManageUsers, StateDep


def roles(db: DbDep, state: StateDep, principal: MayManageUsers, actor: ActorDep) -> Roles:
    """The tenant's roles in the request's transaction, as this account may change them."""
    return Roles(db, principal, actor, state.clock)


RolesDep = Annotated[Roles, Depends(roles)]
