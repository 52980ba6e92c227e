"""What goes into and comes out of the finding and merging of duplicates."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from elink_app.addresses.schemas import AddressOutput
from elink_app.validation import refuse

MAX_MERGED = 5
Id = Annotated[int, Field(ge=1, le=2**63 - 1, strict=True)]
MergeField = Literal["name", "kana", "company", "phone", "postal_code", "postal_address", "notes"]


class Likeness(StrEnum):
    """What two addresses have in common."""

    EMAIL = "email"
    NAME = "name"
    PHONE = "phone"


class DuplicateGroup(BaseModel):
    """Addresses that have the same e-mail, the same name and company, or the same phone."""

    key: str
    addresses: list[AddressOutput]


class DuplicatePage(BaseModel):
    """A part of the groups; `next` is the cursor of the following part."""

    items: list[DuplicateGroup]
    next: str | None


class MergeInput(BaseModel):
    """Addresses that become one. `choices` names the address whose value a field takes; else the kept one's."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"keep": 1, "merge": [2], "choices": {"phone": 2}}]}
    )

    keep: Id
    merge: Annotated[list[Id], Field(min_length=1, max_length=MAX_MERGED - 1)]
    choices: dict[MergeField, Id] = {}
    versions: Annotated[
        dict[Annotated[str, Field(max_length=20)], Id],
        Field(max_length=MAX_MERGED, description="Version by id; refused (409) when one is not the newest"),
    ] = {}

    @field_validator("merge")
    @classmethod
    def _once(cls, value: list[int]) -> list[int]:
        if len(set(value)) < len(value):
            raise refuse("merge_twice")
        return value


class MergeOutput(BaseModel):
    """A merge that was done; it can be undone until `until`, as long as nobody saves the kept address."""

    id: int
    address: AddressOutput
    merged: list[int]
    until: datetime
