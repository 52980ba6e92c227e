"""Segments as a dependency of pages and API."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from elink_app.segments.service import Segments
from elink_app.web.deps import ActorDep, DbDep, PrincipalDep, StateDep


def segments(db: DbDep, state: StateDep, principal: PrincipalDep, actor: ActorDep) -> Segments:
    """The tenant's segments in the request's transaction."""
    return Segments(db, principal, actor, state.clock)


SegmentsDep = Annotated[Segments, Depends(segments)]
