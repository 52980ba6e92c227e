"""What goes into and comes out of utility programs: one set of rules for forms and for the API."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from elink_app.addresses.schemas import Email, TagName
from elink_app.duplicates.schemas import Likeness
from elink_app.validation import Line, Lines, refuse

MAX_EMAILS = 20_000
COUNT_FROM = 100
"""From so many on, the count is typed before the program runs."""

PLAIN = ("name", "kana", "company", "phone", "postal_code", "postal_address", "notes")
ATTRIBUTE = "attribute:"
_FIELD = rf"^({'|'.join(PLAIN)}|{ATTRIBUTE}[a-z][a-z0-9_]{{0,39}})$"


class ProgramName(StrEnum):
    """The programs."""

    EDIT = "edit"
    RETAG = "retag"
    DELETE = "delete"
    MERGE = "merge"
    SUPPRESS = "suppress"


class Target(BaseModel):
    """Which addresses: of a segment, and with these words and this tag; all that the account may see when empty."""

    model_config = ConfigDict(extra="forbid")

    segment_id: Annotated[int, Field(ge=1, le=2**63 - 1, strict=True)] | None = None
    q: Annotated[str, Line(200)] = ""
    tag: Annotated[str, Line(50)] = ""


class _Program(BaseModel):
    model_config = ConfigDict(extra="forbid")

    target: Target = Target()


class EditProgram(_Program):
    """Set one field of all of them, or clear it with an empty value."""

    program: Literal["edit"]
    field: Annotated[str, Field(pattern=_FIELD, description="A field, or attribute:<key> for an own one")]
    value: Annotated[str, Lines(4000)] = ""


class RetagProgram(_Program):
    """Add tags and take tags away; a tag is exchanged by doing both."""

    program: Literal["retag"]
    add: Annotated[list[TagName], Field(max_length=10)] = []
    remove: Annotated[list[TagName], Field(max_length=10)] = []


class DeleteProgram(_Program):
    """Delete them."""

    program: Literal["delete"]


class MergeProgram(_Program):
    """Make one address of those that are alike: the oldest stays and takes from the others what it lacks."""

    program: Literal["merge"]
    likeness: Likeness = Likeness.EMAIL


class SuppressProgram(_Program):
    """Let e-mails get no mail: those of a list, or without one all e-mails of the addresses."""

    program: Literal["suppress"]
    emails: Annotated[list[Email], Field(max_length=MAX_EMAILS)] = []
    detail: Annotated[str, Line(200, min_length=1), Field(description="Why; kept with every entry")]

    @model_validator(mode="after")
    def _one_of_both(self) -> SuppressProgram:
        if self.emails and self.target != Target():
            raise refuse("utility_both")
        return self


Program = Annotated[
    EditProgram | RetagProgram | DeleteProgram | MergeProgram | SuppressProgram, Field(discriminator="program")
]
PROGRAM: TypeAdapter[Program] = TypeAdapter(Program)

_REQUEST: dict[str, Any] = {
    "program": "edit",
    "target": {"segment_id": 1, "q": "", "tag": ""},
    "field": "company",
    "value": "株式会社やまだ商店",
}


class UtilityInput(BaseModel):
    """A program to be tried."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"request": _REQUEST}]})

    request: Program


class RunInput(BaseModel):
    """From 100 on, the count that the trial found: proof that somebody looked at it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"count": 1250}]})

    count: Annotated[int, Field(ge=0, le=2**63 - 1, strict=True)] | None = None


class Sample(BaseModel):
    """One address as it is and as it would be."""

    address: Annotated[int | None, Field(description="Its id; null for an e-mail of a list")]
    name: str
    before: str
    after: str


class UtilityState(StrEnum):
    """What became of a program."""

    TRIED = "tried"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNDONE = "undone"


class UtilityOutput(BaseModel):
    """A program that was tried or run."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": 1, "program": "edit", "request": _REQUEST, "state": "tried", "count": 1250,
                    "sample": [{"address": 7, "name": "山田 太郎", "before": "やまだ", "after": "株式会社やまだ商店"}],
                    "job": None, "undo_job": None, "result": {}, "actor": "master@example.co.jp",
                    "created_at": "2026-04-01T09:00:00+09:00", "undo_until": None,
                }
            ]
        }
    )  # fmt: skip

    id: int
    program: ProgramName
    request: Annotated[dict[str, Any], Field(description="As it was asked for; a list of e-mails as their number")]
    state: UtilityState
    count: Annotated[int, Field(description="How many would be changed; groups for merge, e-mails for a list")]
    sample: Annotated[list[Sample], Field(description="The first of them, before and after; empty once it has run")]
    job: Annotated[int | None, Field(description="See /api/v1/jobs/{job_id}")]
    undo_job: Annotated[int | None, Field(description="The job that took it back")]
    result: Annotated[dict[str, int], Field(description="Counts of what was done")]
    actor: Annotated[str, Field(description="Who asked for it")]
    created_at: Annotated[datetime, Field(description="With the offset of Japan Standard Time")]
    undo_until: Annotated[datetime | None, Field(description="Until when it can be undone; null when it cannot")]


class UtilityList(BaseModel):
    """The newest programs, 100 at most."""

    items: list[UtilityOutput]
