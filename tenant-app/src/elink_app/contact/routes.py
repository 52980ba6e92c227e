"""The page that says where to ask, and what to tell."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from elink_app.contact.service import room_address, room_of
from elink_app.web import pages
from elink_app.web.deps import PrincipalDep, StateDep, TenantDep

router = APIRouter(include_in_schema=False)


@router.get("/contact")
async def contact(request: Request, principal: PrincipalDep, tenant: TenantDep, state: StateDep) -> Response:
    """The tenant's support room, and the facts that support asks for."""
    room = room_of(tenant)
    return pages.render(
        request,
        "contact.html",
        principal=principal,
        room=room,
        url=room_address(room) if room else "",
        version=state.settings.version,
    )
