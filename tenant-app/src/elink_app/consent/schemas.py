"""What goes into and comes out of consent and suppression."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator

from elink_app.addresses.schemas import Email
from elink_app.validation import Line, Lines, refuse

ConsentKind = Literal["given", "withdrawn"]
SuppressionReason = Literal["unsubscribed", "bounced", "complained", "blocked"]
_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)


class ConsentInput(BaseModel):
    """That somebody gave or withdrew consent. A consent needs the words that were agreed to."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"kind": "given", "how": "名刺交換", "source": "展示会2026", "wording": "案内メールの送信に同意します"}
            ]
        },
    )

    kind: ConsentKind
    at: Annotated[AwareDatetime | None, Field(description="When it was said; now, when left out")] = None
    how: Annotated[str, Line(100)] = ""
    source: Annotated[str, Line(300)] = ""
    wording: Annotated[str, Lines(2000)] = ""

    @field_validator("at")
    @classmethod
    def _sensible(cls, value: datetime | None) -> datetime | None:
        if value is not None and value < _EARLIEST:
            raise refuse("moment")
        return value


class ConsentLine(BaseModel):
    """One line of the ledger."""

    kind: str
    at: datetime
    how: str
    source: str
    wording: str
    recorded_by: str
    recorded_at: datetime


class SuppressionInput(BaseModel):
    """An e-mail that is to get no mail."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"email": "taro@example.co.jp", "reason": "blocked", "detail": "電話での申し出"}]
        },
    )

    email: Email
    reason: Literal["unsubscribed", "blocked"] = "blocked"
    detail: Annotated[str, Lines(1000)] = ""


class LiftInput(BaseModel):
    """Why an e-mail may get mail again."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"why": "アドレス復旧の連絡あり"}]})

    why: Annotated[str, Line(300, min_length=1)]


class SuppressionOutput(BaseModel):
    """One reason why an e-mail gets no mail."""

    id: int
    email: str
    reason: str
    detail: str
    source: str
    since: datetime
    lifted_at: datetime | None
    lifted_by: str
    lifted_why: str


class SuppressionPage(BaseModel):
    """A part of the list, the newest first; `next` is the cursor of the following part."""

    items: list[SuppressionOutput]
    next: int | None


class EmailOutput(BaseModel):
    """What is known of one e-mail: consent (null: nothing recorded), suppression, and how it came to that."""

    email: str
    consent: str | None
    suppressed: bool
    ledger: list[ConsentLine]
    suppressions: list[SuppressionOutput]
