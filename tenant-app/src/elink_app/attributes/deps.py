"""Own fields as a dependency of pages and API."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from elink_app.attributes.service import Attributes
from elink_app.web.deps import ActorDep, DbDep, PrincipalDep, StateDep


def attributes(db: DbDep, state: StateDep, principal: PrincipalDep, actor: ActorDep) -> Attributes:
    """The tenant's own fields in the request's transaction."""
    return Attributes(db, principal, actor, state.clock, state.undo_window)


AttributesDep = Annotated[Attributes, Depends(attributes)]
