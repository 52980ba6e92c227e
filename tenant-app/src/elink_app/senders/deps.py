"""The sender's settings as a dependency of pages and API."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from elink_app.accounts.permissions import Permission, Principal
from elink_app.senders.service import Senders
from elink_app.web.deps import DbDep, StateDep, require


def senders(db: DbDep, state: StateDep) -> Senders:
    """The tenant's settings in the request's transaction."""
    return Senders(db, state.clock)


SendersDep = Annotated[Senders, Depends(senders)]
MayManageSettings = Annotated[Principal, Depends(require(Permission.SETTINGS_MANAGE))]
