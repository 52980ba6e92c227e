"""Users and their fields as dependencies of pages and API."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from elink_app.people.service import UserFields, Users
from elink_app.web.deps import ActorDep, DbDep, MayManageUsers, StateDep, TenantDep


def users(db: DbDep, state: StateDep, tenant: TenantDep, principal: MayManageUsers, actor: ActorDep) -> Users:
    """The tenant's users in the request's transaction."""
    return Users(db, tenant, principal, actor, state.clock, state.base_url(tenant))


def user_fields(db: DbDep, state: StateDep, _principal: MayManageUsers, actor: ActorDep) -> UserFields:
    """The tenant's fields of users in the request's transaction."""
    return UserFields(db, actor, state.clock, state.undo_window)


UsersDep = Annotated[Users, Depends(users)]
UserFieldsDep = Annotated[UserFields, Depends(user_fields)]
