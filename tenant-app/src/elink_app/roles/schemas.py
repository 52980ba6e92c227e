"""What goes into and comes out of roles: one set of rules for forms and for the API."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from elink_app.accounts.permissions import Permission
from elink_app.validation import Line


class RoleInput(BaseModel):
    """A role as somebody defines it. Unknown fields are refused."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "営業", "permissions": ["addresses:view", "addresses:edit"]}]},
    )

    name: Annotated[str, Line(50, min_length=1)]
    permissions: Annotated[
        list[Permission],
        Field(
            max_length=40,
            description="`utilities:run`, `users:manage` and `settings:manage` can be granted by the master only. "
            "`addresses:edit` and `addresses:export` count together with `addresses:view` only.",
        ),
    ] = []

    @field_validator("permissions")
    @classmethod
    def _each_once(cls, value: list[Permission]) -> list[Permission]:
        return sorted(set(value))


class RoleOutput(BaseModel):
    """A role as it is kept."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"id": 1, "name": "営業", "permissions": ["addresses:edit", "addresses:view"], "accounts": 3}]
        }
    )

    id: int
    name: str
    permissions: list[Permission]
    accounts: Annotated[int, Field(description="How many users have it")]


class RoleList(BaseModel):
    """All roles."""

    items: list[RoleOutput]
