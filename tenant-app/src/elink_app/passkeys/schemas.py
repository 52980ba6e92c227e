"""What goes into and comes out of passkeys."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, JsonValue

from elink_app.validation import Line

EXAMPLE: dict[str, JsonValue] = {
    "id": 1,
    "name": "会社の iPhone",
    "created_at": "2026-04-01T09:00:00+09:00",
    "last_used_at": "2026-04-02T09:30:00+09:00",
}


class PasskeyName(BaseModel):
    """How the owner calls a passkey."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "会社の iPhone"}]})

    name: Annotated[str, Line(100, min_length=1)]


class PasskeyOutput(BaseModel):
    """A passkey as its owner sees it."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    id: int
    name: str
    created_at: datetime
    last_used_at: datetime | None
