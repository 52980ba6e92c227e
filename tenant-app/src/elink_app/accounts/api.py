"""`/api/v1/session`: who is asking, and the token for unsafe calls."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from elink_app.accounts.permissions import Permission
from elink_app.web import csrf
from elink_app.web.deps import PrincipalDep
from elink_app.web.openapi import problems

router = APIRouter(prefix="/api/v1/session", tags=["session"], responses=problems(401, 503))


class SessionOutput(BaseModel):
    """The account behind the request."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "email": "master@example.co.jp",
                    "is_master": True,
                    "permissions": ["addresses:edit", "addresses:view"],
                    "csrf_token": "eYk0xk9n2m1m4y8yQkq2S8c5lYlq0S1mO3xZ8w7pT0E",
                }
            ]
        }
    )

    email: str
    is_master: bool
    permissions: list[Permission]
    csrf_token: Annotated[
        str, Field(description="To send as X-CSRF-Token with POST, PUT and DELETE; empty for an API token")
    ]


@router.get("")
async def get_session(request: Request, principal: PrincipalDep) -> SessionOutput:
    """Who is logged in with this cookie, or whose token this is."""
    secrets = csrf.usable_secrets(request)
    return SessionOutput(
        email=principal.email,
        is_master=principal.is_master,
        permissions=sorted(principal.permissions),
        csrf_token=csrf.csrf_token(secrets[0]) if secrets else "",
    )
