"""`/api/v1/audit`."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query

from elink_app.audit import search
from elink_app.audit.schemas import AuditPage
from elink_app.web.deps import DbDep, MayViewAudit
from elink_app.web.openapi import problems

router = APIRouter(prefix="/api/v1/audit", tags=["audit"], responses=problems(401, 403, 503))

_Words = Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$")]


@router.get("", responses=problems(422))
async def list_lines(
    principal: MayViewAudit,
    db: DbDep,
    q: _Words = "",
    actor: _Words = "",
    action: Annotated[_Words, Query(description="The beginning of it: `user` finds `user.disable`")] = "",
    since: Annotated[date | None, Query(description="First day, in Japan Standard Time")] = None,
    until: Annotated[date | None, Query(description="Last day, in Japan Standard Time")] = None,
    below: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="`next` of an earlier page")] = None,
    size: Annotated[int, Query(ge=1, le=200)] = 50,
) -> AuditPage:
    """Search the audit log, newest first."""
    return await search.page(db, principal, search.Query(q, actor, action, since, until), below=below, size=size)
