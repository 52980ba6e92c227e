"""What comes out of notices."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from elink_app.registry.notices import NoticeType

_RECEIPT: dict[str, JsonValue] = {
    "account_id": 1,
    "actor": "master@example.co.jp",
    "kind": "acknowledged",
    "at": "2026-04-01T09:30:00+09:00",
}
_NOTICE: dict[str, JsonValue] = {
    "id": "6f1d2c3b-1a2b-4c3d-8e4f-5a6b7c8d9e0f",
    "type": "Incident",
    "severity": "Critical",
    "title": {"ja": "配信の遅延", "en": "Delayed deliveries"},
    "body": {"ja": "配信に遅れが出ています。", "en": "Deliveries are late."},
    "starts_at": None,
    "detected_at": "2026-04-01T08:50:00+09:00",
    "published_at": "2026-04-01T09:00:00+09:00",
    "withdrawn_at": None,
    "must_be_acknowledged": True,
    "receipt": _RECEIPT,
}


class Receipt(BaseModel):
    """Who has read or acknowledged a notice, and when."""

    model_config = ConfigDict(json_schema_extra={"examples": [_RECEIPT]})

    account_id: int
    actor: str
    kind: Annotated[str, Field(description="`read` or `acknowledged`")]
    at: datetime


class BothLanguages(BaseModel):
    """A plain text in both languages; one may be empty."""

    ja: str
    en: str


class NoticeOutput(BaseModel):
    """A notice of the operator; `receipt` is the caller's own."""

    model_config = ConfigDict(json_schema_extra={"examples": [_NOTICE]})

    id: str
    type: NoticeType
    severity: str
    title: BothLanguages
    body: BothLanguages
    starts_at: datetime | None
    detected_at: datetime | None
    published_at: datetime
    withdrawn_at: datetime | None
    must_be_acknowledged: bool
    receipt: Receipt | None
