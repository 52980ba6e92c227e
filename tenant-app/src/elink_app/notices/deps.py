"""Notices as a dependency of pages and API."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path

from elink_app.notices.service import Notices
from elink_app.web.deps import ActorDep, DbDep, PrincipalDep, StateDep, TenantDep


def notices(db: DbDep, state: StateDep, tenant: TenantDep, principal: PrincipalDep, actor: ActorDep) -> Notices:
    """The tenant's notices in the request's transaction."""
    return Notices(db, state.notices, tenant.name, principal, actor, state.clock)


NoticesDep = Annotated[Notices, Depends(notices)]
NoticeId = Annotated[str, Path(max_length=100, pattern=r"^[a-z0-9][-a-z0-9]*$", examples=["6f1d2c3b"])]
