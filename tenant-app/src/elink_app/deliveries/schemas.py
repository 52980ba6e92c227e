"""What goes into and comes out of deliveries: one set of rules for forms and for the API."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationInfo, field_validator

from elink_app.deliveries.states import ENDED, OPEN, Category, DeliveryState, RecipientState, given_up
from elink_app.emails import clean_email, email_key
from elink_app.templates.layout import Layout
from elink_app.templates.schemas import MAX_SOURCE, MAX_TEXT
from elink_app.validation import Line, Lines, refuse

MAX_TEST_ADDRESSES = 5

_EXAMPLE: dict[str, JsonValue] = {
    "name": "4月のお知らせ",
    "category": "notice",
    "from_name": "さくら商店",
    "from_address": "news@sakura.example",
    "reply_to": "",
    "template_id": None,
    "segment_id": 1,
    "subject": "{{名前|お客様}} 様へのお知らせ",
    "text_body": "{{名前|お客様}} 様\n\nいつもお世話になっております。",
    "layout": "none",
    "source": "",
    "count_clicks": False,
}
_MOMENT = "2026-04-01T09:00:00+09:00"
_ATTACHMENT: dict[str, JsonValue] = {
    "name": "お見積書.pdf",
    "media_type": "application/pdf",
    "size": 48213,
    "sha256": "0" * 64,
    "kept": True,
}


def _email(value: str) -> str:
    cleaned = clean_email(value)
    if cleaned is None:
        raise refuse("email")
    return cleaned


def _email_or_nothing(value: str) -> str:
    return _email(value) if value else ""


Email = Annotated[str, Line(320), AfterValidator(_email)]
OptionalEmail = Annotated[str, Line(320), AfterValidator(_email_or_nothing)]
Id = Annotated[int, Field(ge=1, le=2**63 - 1)]


NAME_LENGTH = 200


class DeliveryInput(BaseModel):
    """A delivery as a person writes it. Only name and category have to be given at first."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    name: Annotated[
        str, Line(NAME_LENGTH, min_length=1), Field(description="For your own list; recipients do not see it")
    ]
    category: Annotated[
        Category, Field(description="advert: goes only to whom consent is on record for, with the legal footer")
    ]
    from_name: Annotated[str, Line(100)] = ""
    from_address: Annotated[OptionalEmail, Field(description="One of the allowed senders")] = ""
    reply_to: OptionalEmail = ""
    template_id: Annotated[Id | None, Field(description="Its texts are taken when none are given here")] = None
    segment_id: Annotated[Id | None, Field(description="Who gets it")] = None
    subject: Annotated[str, Line(500)] = ""
    text_body: Annotated[str, Lines(MAX_TEXT)] = ""
    layout: Layout = Layout.NONE
    source: Annotated[str, Lines(MAX_SOURCE)] = ""
    count_clicks: Annotated[
        bool, Field(description="Links lead by way of your own host and are counted; recipients are told")
    ] = False


class DeliveryUpdate(DeliveryInput):
    """A replacement of all fields; it takes an approval back. 409 when `version` is not the newest."""

    version: Annotated[int | None, Field(ge=1, le=2**63 - 1, strict=True)] = None


class Counts(BaseModel):
    """Recipients by what became of them. `accepted`: the mail server took it, not that it has arrived."""

    total: int
    pending: int
    accepted: int
    refused: int
    bounced: int
    skipped: int
    unknown: int


class AttachmentOutput(BaseModel):
    """A file that every recipient gets with the mail."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ATTACHMENT]})

    name: str
    media_type: Annotated[str, Field(description="As mails name it: told by the ending, not by who uploaded it")]
    size: Annotated[int, Field(description="Bytes")]
    sha256: Annotated[str, Field(description="Hexadecimal, of the content; names the file in paths")]
    kept: Annotated[bool, Field(description="False: only this record is left, the content was deleted")]


class DeliveryOutput(DeliveryInput):
    """A delivery as it is kept."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "id": 1,
                    "version": 1,
                    "state": "draft",
                    **_EXAMPLE,
                    "attachments": [_ATTACHMENT],
                    "counts": dict.fromkeys(Counts.model_fields, 0),
                    "made_by": "master@sakura.example",
                    "made_at": _MOMENT,
                    "updated_at": _MOMENT,
                }
            ]
        },
    )

    id: int
    version: int
    state: DeliveryState
    state_reason: Annotated[str, Field(description="Why it stands still, as a word; empty when a person did it")] = ""
    attachments: Annotated[list[AttachmentOutput], Field(description="Files that go with every mail")]
    counts: Counts
    made_by: str
    made_at: datetime
    approved_by: str = ""
    approved_at: datetime | None = None
    content_sha256: Annotated[str, Field(description="Hexadecimal; of what was put up for approval")] = ""
    scheduled_at: datetime | None = None
    hold_until: Annotated[datetime | None, Field(description="Until then it can be taken back")] = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    updated_at: datetime

    @property
    def is_open(self) -> bool:
        """Its content may still be changed."""
        return self.state in OPEN

    @property
    def has_ended(self) -> bool:
        """Nothing leaves any more by itself."""
        return self.state in ENDED

    @property
    def given_up(self) -> bool:
        """It ended before anything was sent."""
        return given_up(self.state, self.started_at)


class DeliveryPage(BaseModel):
    """One page of the list, the newest first."""

    items: list[DeliveryOutput]
    next: Annotated[int | None, Field(description="`before` of the next page")]


class EventOutput(BaseModel):
    """One step in a delivery's history."""

    at: datetime
    actor: str
    action: str
    detail: dict[str, JsonValue] | None


class RecipientOutput(BaseModel):
    """One mail of a delivery. `unknown`: the connection broke before the server's answer came."""

    id: int
    email: str
    state: RecipientState
    attempts: int
    reply: Annotated[str, Field(description="The mail server's own words, or why it was left out")]
    updated_at: datetime


class RecipientPage(BaseModel):
    """One page of recipients, in the order of their ids."""

    items: list[RecipientOutput]
    next: Annotated[int | None, Field(description="`after` of the next page")]


class LeftOut(BaseModel):
    """An address of the segment that gets nothing, and why."""

    address_id: int
    name: str
    email: str
    reason: Annotated[str, Field(description="no_email, label, suppressed, no_consent or duplicate")]


class AudienceOutput(BaseModel):
    """Exactly who would get it now; the rules are applied once more when it is sent."""

    recipients: int
    left_out: Annotated[dict[str, int], Field(description="How many by reason")]
    examples: Annotated[list[LeftOut], Field(description="The first 200 of them")]


class Approval(BaseModel):
    """Says what was read: the fingerprint of the content."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"content_sha256": "0" * 64}]})

    content_sha256: Annotated[str, Line(64, min_length=1)]


class Rejection(BaseModel):
    """Why it is sent back."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "宛名を直してください。"}]})

    reason: Annotated[str, Lines(500)] = ""


class When(StrEnum):
    """When it is sent."""

    NOW = "now"
    BUSINESS_DAY = "business_day"
    AT = "at"


class Release(BaseModel):
    """The order to send."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"when": "now", "typed_count": 120}]})

    when: Annotated[When, Field(description="business_day: 9:00 JST of the next business day")] = When.NOW
    at: Annotated[
        datetime | None,
        Field(description="For `at`; without an offset it is Japan Standard Time", validate_default=True),
    ] = None
    typed_count: Annotated[
        int | None, Field(ge=0, le=2**31, description="The number of recipients, when it is above the limit set")
    ] = None

    @field_validator("at")
    @classmethod
    def _moment(cls, value: datetime | None, info: ValidationInfo) -> datetime | None:
        if value is None and info.data.get("when") is When.AT:
            raise refuse("required")
        return value


class Resume(BaseModel):
    """The order to go on."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"accept_repeats": False}]})

    accept_repeats: Annotated[
        bool,
        Field(description="Needed when state_reason is `restored`: mails may have left after the backup was made"),
    ] = False


class Resend(BaseModel):
    """The order to send again the mails whose outcome is unknown."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"typed_count": 3}]})

    typed_count: Annotated[int, Field(ge=1, le=2**31, description="How many are unknown; some may get it twice")]


class TestMail(BaseModel):
    """Where test mails go: five addresses at most."""

    __test__ = False
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"to": ["me@sakura.example"]}]})

    to: Annotated[list[Email], Field(min_length=1, max_length=MAX_TEST_ADDRESSES)]
    address_id: Annotated[Id | None, Field(description="Whose values stand in it; else an example's")] = None

    @field_validator("to")
    @classmethod
    def _once(cls, value: list[str]) -> list[str]:
        if len({email_key(email) for email in value}) < len(value):
            raise refuse("email_twice")
        return value
