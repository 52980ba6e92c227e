"""Tags as a dependency of pages and API."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from elink_app.labels.service import Labels
from elink_app.web.deps import ActorDep, DbDep, PrincipalDep, StateDep


def labels(db: DbDep, state: StateDep, principal: PrincipalDep, actor: ActorDep) -> Labels:
    """The tenant's tags in the request's transaction."""
    return Labels(db, principal, actor, state.clock)


LabelsDep = Annotated[Labels, Depends(labels)]
