"""Utility programs as a dependency of pages and API."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path

from elink_app.transfer.deps import MayImport
from elink_app.utilities.service import Utilities
from elink_app.web.deps import ActorDep, DbDep, StateDep

RunId = Annotated[int, Path(ge=1, le=2**63 - 1, examples=[1])]


def utilities(db: DbDep, state: StateDep, principal: MayImport, actor: ActorDep) -> Utilities:
    """For accounts that may run utility programs and edit addresses: the master, or who was granted both."""
    return Utilities(db, principal, actor, state.clock, state.undo_window)


UtilitiesDep = Annotated[Utilities, Depends(utilities)]
