"""What goes into and comes out of the sender's settings."""

from __future__ import annotations

from datetime import datetime, time
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

from elink_app.emails import clean_email
from elink_app.validation import Line, Lines, refuse

_EXAMPLE: dict[str, JsonValue] = {
    "organisation": "株式会社さくら商店",
    "postal_address": "〒100-0001 東京都千代田区千代田1-1",
    "contact": "info@sakura.example 03-1234-5678",
    "approval_required": True,
    "hold_minutes": 5,
    "type_count_above": 100,
    "quiet_from": "21:00:00",
    "quiet_until": "08:00:00",
    "resend_unknown": False,
}


def _email(value: str) -> str:
    cleaned = clean_email(value)
    if cleaned is None:
        raise refuse("email")
    return cleaned


class SettingsInput(BaseModel):
    """The rules of sending. The first three are what the law wants to stand in every advert."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    organisation: Annotated[str, Line(200)] = ""
    postal_address: Annotated[str, Lines(300)] = ""
    contact: Annotated[str, Line(320), Field(description="E-mail, telephone or page for questions and complaints")] = ""
    approval_required: Annotated[bool, Field(description="Somebody else has to approve before anything is sent")] = True
    hold_minutes: Annotated[int, Field(ge=0, le=60, description="How long “send” can be taken back")] = 5
    type_count_above: Annotated[
        int, Field(ge=0, le=1_000_000, description="Above this, the number of recipients has to be typed by hand")
    ] = 100
    quiet_from: Annotated[time | None, Field(description="Japan Standard Time; both or neither")] = None
    quiet_until: time | None = None
    resend_unknown: Annotated[
        bool, Field(description="Send again what may or may not have left when the service was interrupted")
    ] = False

    @model_validator(mode="after")
    def _quiet(self) -> Self:
        times = (self.quiet_from, self.quiet_until)
        if (self.quiet_from is None) != (self.quiet_until is None) or any(t and t.tzinfo for t in times):
            raise refuse("quiet_hours")
        return self


class SettingsUpdate(SettingsInput):
    """With `version`, it is refused (409) when somebody saved in between."""

    version: Annotated[int | None, Field(ge=0, le=2**63 - 1, strict=True)] = None


class SettingsOutput(SettingsInput):
    """The rules as they are kept."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{**_EXAMPLE, "version": 1, "complete": True}]}
    )

    version: int = 0
    complete: Annotated[bool, Field(description="False: no advert may be sent yet")] = False


class SenderAddressInput(BaseModel):
    """An address that deliveries may come from."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"email": "news@sakura.example", "name": "さくら商店"}]}
    )

    email: Annotated[str, Line(320), AfterValidator(_email)]
    name: Annotated[str, Line(100)] = ""


class SenderAddressOutput(BaseModel):
    """An allowed sender."""

    id: int
    email: str
    name: str


class DkimDomainInput(BaseModel):
    """The domain that a key is made for: that of an allowed sender."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"domain": "sakura.example"}]})

    domain: Annotated[str, Line(253, min_length=1)]


class DkimKeyOutput(BaseModel):
    """A signing key: what has to stand in the DNS, and whether it signs. The private half is never shown."""

    id: int
    domain: str
    selector: str
    active: Annotated[bool, Field(description="True: mails from this domain are signed with it")]
    record_name: Annotated[str, Field(description="Name of the TXT record")]
    record_value: Annotated[str, Field(description="Content of the TXT record")]
    created_at: datetime
