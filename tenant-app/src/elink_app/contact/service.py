"""Where a tenant's users ask for help. Pure."""

from __future__ import annotations

import re

from elink_app.registry.tenant import Tenant

_ROOM = re.compile(r"[0-9]{1,20}\Z")


def room_of(tenant: Tenant) -> str | None:
    """The number of the support room on Chatwork; None when none, or none that can be one, is recorded."""
    return tenant.chatwork_room if _ROOM.match(tenant.chatwork_room) else None


def room_address(room: str) -> str:
    """The page of a room."""
    return f"https://www.chatwork.com/#!rid{room}"
