"""What comes out of the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

_LINE: dict[str, JsonValue] = {
    "number": 12,
    "at": "2026-04-01T09:00:00+09:00",
    "account_id": 1,
    "actor": "master@example.co.jp",
    "address": "203.0.113.7",
    "action": "user.disable",
    "kind": "user",
    "key": "2",
    "before": None,
    "after": None,
    "hash": "5f0c7a1e9d3b48c2a6e47d10b9f8236c5f0c7a1e9d3b48c2a6e47d10b9f8236c",
}


class AuditLine(BaseModel):
    """One action."""

    model_config = ConfigDict(json_schema_extra={"examples": [_LINE]})

    number: int
    at: datetime
    account_id: int | None
    actor: str
    address: Annotated[str, Field(description="Network address of the actor")]
    action: str
    kind: str
    key: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    hash: Annotated[
        str | None,
        Field(
            description="SHA-256 over this line and the hash of the line before it, hexadecimal; null for an account "
            "that information labels keep from lines"
        ),
    ]


class AuditPage(BaseModel):
    """Some lines, newest first."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_LINE], "complete": True, "next": 12}]})

    items: list[AuditLine]
    complete: Annotated[bool, Field(description="False for an account that information labels keep from lines")]
    next: Annotated[int | None, Field(description="To send as `below` for the lines before these")]
