"""What goes in and comes out, for pages and API alike."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from elink_app.addresses.schemas import Email
from elink_app.consent.models import Reason
from elink_app.validation import Line, Lines


class ConsentInput(BaseModel):
    """A consent or its withdrawal, with its proof."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "email": "taro@example.co.jp",
                    "given": True,
                    "how": "Web フォーム",
                    "source": "https://www.example.co.jp/contact",
                    "wording": "新商品のお知らせをメールで受け取ります",
                    "occurred_at": "2026-04-01T09:00:00+09:00",
                }
            ]
        },
    )

    email: Email
    given: bool
    how: Annotated[str, Line(100, min_length=1), Field(description="A form, on paper, by telephone …")]
    source: Annotated[str, Line(300), Field(description="Where: an address of a page, an event")] = ""
    wording: Annotated[str, Lines(2000), Field(description="The words that were agreed to")] = ""
    occurred_at: Annotated[datetime | None, Field(description="When it was said; now when left out")] = None


class ConsentOutput(BaseModel):
    """One entry of the ledger."""

    id: int
    given: bool
    how: str
    source: str
    wording: str
    occurred_at: datetime
    recorded_at: datetime
    recorded_by: str


class SuppressionInput(BaseModel):
    """An e-mail that shall get no mail any more."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"email": "taro@example.co.jp", "detail": "電話で申し出があったため"}]},
    )

    email: Email
    detail: Annotated[str, Line(300)] = ""


class LiftInput(BaseModel):
    """Why an e-mail may get mail again."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"why": "メールボックスの容量不足が解消したため"}]}
    )

    why: Annotated[str, Line(300, min_length=1)]


class SuppressionOutput(BaseModel):
    """One entry of the list."""

    id: int
    email: str
    reason: Reason
    detail: str
    source: str
    since: datetime


class SuppressionPage(BaseModel):
    """One page of the list; `next` is the cursor of the following one, null at the end."""

    items: list[SuppressionOutput]
    next: str | None


class EmailState(BaseModel):
    """All that is on record for one e-mail. `consent` is null when nothing was ever recorded."""

    email: str
    consent: bool | None
    history: list[ConsentOutput]
    suppressions: list[SuppressionOutput]
