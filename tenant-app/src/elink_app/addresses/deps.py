"""The address book as a dependency of pages and API."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from elink_app.addresses.service import AddressBook
from elink_app.web.deps import ActorDep, DbDep, PrincipalDep, StateDep, TenantDep


def address_book(
    db: DbDep, state: StateDep, tenant: TenantDep, principal: PrincipalDep, actor: ActorDep
) -> AddressBook:
    """The tenant's address book in the request's transaction."""
    return AddressBook(db, tenant, state.clock, state.undo_window, principal, actor)


BookDep = Annotated[AddressBook, Depends(address_book)]
