"""Consents as a dependency of pages and API."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from elink_app.consent.service import Consents
from elink_app.web.deps import DbDep, StateDep


def consents(db: DbDep, state: StateDep) -> Consents:
    """Consents and suppressions of the tenant in the request's transaction."""
    return Consents(db, state.clock)


ConsentsDep = Annotated[Consents, Depends(consents)]
