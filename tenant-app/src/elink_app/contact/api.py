"""`/api/v1/support`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from elink_app.contact.service import room_address, room_of
from elink_app.web.deps import PrincipalDep, StateDep, TenantDep
from elink_app.web.openapi import problems

router = APIRouter(prefix="/api/v1/support", tags=["dashboard"], responses=problems(401, 403, 503))


class SupportOutput(BaseModel):
    """Where to ask, and what to tell."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "room": "123456789",
                    "url": "https://www.chatwork.com/#!rid123456789",
                    "organisation": "株式会社さくら商店",
                    "tenant": "sakura",
                    "version": "0.1.0",
                }
            ]
        }
    )

    room: Annotated[str | None, Field(description="The support room on Chatwork; null when none is recorded")]
    url: str | None
    organisation: str
    tenant: str
    version: str


@router.get("")
async def get_support(_principal: PrincipalDep, tenant: TenantDep, state: StateDep) -> SupportOutput:
    """The tenant's support room, and the facts that support asks for."""
    room = room_of(tenant)
    return SupportOutput(
        room=room,
        url=room_address(room) if room else None,
        organisation=tenant.display_name,
        tenant=tenant.name,
        version=state.settings.version,
    )
