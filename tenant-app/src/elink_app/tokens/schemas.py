"""What goes into and comes out of API tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from elink_app.accounts.permissions import Permission
from elink_app.validation import Line

MAX_DAYS = 366


class TokenInput(BaseModel):
    """A token as its owner asks for it. Unknown fields are refused."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "基幹システム", "permissions": ["addresses:view"], "days": 90}]},
    )

    name: Annotated[str, Line(50, min_length=1)]
    permissions: Annotated[
        list[Permission], Field(max_length=40, description="A part of what the owner may; cut with it at every use")
    ] = []
    days: Annotated[int, Field(ge=1, le=MAX_DAYS, description="Days until it ends")] = 90

    @field_validator("permissions")
    @classmethod
    def _each_once(cls, value: list[Permission]) -> list[Permission]:
        return sorted(set(value))


class TokenOutput(BaseModel):
    """A token as its owner sees it later."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": 1,
                    "name": "基幹システム",
                    "permissions": ["addresses:view"],
                    "created_at": "2026-04-01T09:00:00+09:00",
                    "expires_at": "2026-06-30T09:00:00+09:00",
                    "last_used_at": None,
                }
            ]
        }
    )

    id: int
    name: str
    permissions: list[Permission]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None


class NewTokenOutput(TokenOutput):
    """The one answer that holds the secret."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": 1,
                    "name": "基幹システム",
                    "permissions": ["addresses:view"],
                    "created_at": "2026-04-01T09:00:00+09:00",
                    "expires_at": "2026-06-30T09:00:00+09:00",
                    "last_used_at": None,
                    "secret": "elk_0000000000000000000000000000000000000000000",
                }
            ]
        }
    )

    secret: Annotated[str, Field(description="Shown once, never again")]


class TokenList(BaseModel):
    """All tokens of the caller."""

    items: list[TokenOutput]
