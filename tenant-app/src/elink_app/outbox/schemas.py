"""What comes out of the outbox."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from elink_app.outbox.results import Reason

EXAMPLE: dict[str, JsonValue] = {
    "kind": "invitation", "at": "2026-04-01T09:00:05+09:00", "reason": "refused",
    "reply": "550 5.1.1 <suzuki@example.co.jp>: User unknown",
}  # fmt: skip


class MailState(StrEnum):
    """Where a single mail is."""

    WAITING = "waiting"
    SENT = "sent"
    GIVEN_UP = "given_up"


class SentMail(BaseModel):
    """What became of one single mail."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "to": "suzuki@example.co.jp", "state": "given_up", "at": "2026-04-01T09:00:05+09:00",
                    "reason": "refused", "reply": "550 5.1.1 <suzuki@example.co.jp>: User unknown",
                }
            ]
        }
    )  # fmt: skip

    to: str
    state: Annotated[MailState, Field(description="`sent`: a mail server took it; that it arrived nobody knows")]
    at: Annotated[datetime | None, Field(description="When it was sent or given up")]
    reason: Annotated[Reason | None, Field(description="Why it was given up")]
    reply: Annotated[str, Field(description="The mail server's last refusal in its words, also of a mail that waits")]


class SentMails(BaseModel):
    """What became of some single mails."""

    items: list[SentMail]


class UndeliveredMail(BaseModel):
    """A mail that was given up: nobody will send it again by himself."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    kind: Annotated[str, Field(description="invitation, password-reset, password-changed or master-offer")]
    at: Annotated[datetime, Field(description="When it was given up")]
    reason: Annotated[Reason, Field(description="The mail server refused it, never took it, or there was no time left")]
    reply: Annotated[str, Field(description="The mail server's words; empty when it said none")]
