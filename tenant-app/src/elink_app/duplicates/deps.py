"""Duplicates as a dependency of pages and API."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from elink_app.addresses.deps import BookDep
from elink_app.duplicates.service import Duplicates
from elink_app.web.deps import ActorDep, DbDep, PrincipalDep, StateDep


def duplicates(db: DbDep, state: StateDep, book: BookDep, principal: PrincipalDep, actor: ActorDep) -> Duplicates:
    """The tenant's duplicates in the request's transaction."""
    return Duplicates(db, book, principal, actor, state.clock, state.undo_window)


DuplicatesDep = Annotated[Duplicates, Depends(duplicates)]
