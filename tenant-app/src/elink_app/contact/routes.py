"""The page that says where to ask, and what to tell."""

from __future__ import annotations

import re

from fastapi import APIRouter, Request
from starlette.responses import Response

from elink_app.web import pages
from elink_app.web.deps import PrincipalDep, StateDep, TenantDep

router = APIRouter(include_in_schema=False)
_ROOM = re.compile(r"[0-9]{1,20}\Z")


@router.get("/contact")
async def contact(request: Request, principal: PrincipalDep, tenant: TenantDep, state: StateDep) -> Response:
    """The tenant's support room, and the facts that support asks for."""
    room = tenant.chatwork_room if _ROOM.match(tenant.chatwork_room) else ""
    return pages.render(request, "contact.html", principal=principal, room=room, version=state.settings.version)
