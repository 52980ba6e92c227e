"""Consent and suppression as a dependency of pages and API."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from elink_app.consent.service import ConsentBook
from elink_app.web.deps import ActorDep, DbDep, PrincipalDep, StateDep


def consent_book(db: DbDep, state: StateDep, principal: PrincipalDep, actor: ActorDep) -> ConsentBook:
    """The tenant's consents in the request's transaction."""
    return ConsentBook(db, principal, actor, state.clock)


ConsentDep = Annotated[ConsentBook, Depends(consent_book)]
