"""Tokens as a dependency of pages and API."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from elink_app.tokens.service import Tokens
from elink_app.web.deps import DbDep, StateDep


def tokens(db: DbDep, state: StateDep) -> Tokens:
    """The tenant's tokens in the request's transaction."""
    return Tokens(db, state.clock)


TokensDep = Annotated[Tokens, Depends(tokens)]
