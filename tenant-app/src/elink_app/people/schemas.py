"""What goes into and comes out of users: one set of rules for forms and for the API."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, create_model, model_validator

from elink_app.emails import clean_email
from elink_app.outbox.schemas import EXAMPLE as UNDELIVERED
from elink_app.outbox.schemas import UndeliveredMail
from elink_app.people.models import UserField
from elink_app.validation import Line, refuse

_KEY = re.compile(r"[a-z][a-z0-9_]{0,39}\Z")


class FieldKind(StrEnum):
    """What a value of a field is."""

    TEXT = "text"
    NUMBER = "number"
    DATE = "date"
    CHOICE = "choice"
    YES_NO = "yes_no"


class Status(StrEnum):
    """What an account can do at present."""

    INVITED = "invited"
    ACTIVE = "active"
    DISABLED = "disabled"


def _email(value: str) -> str:
    cleaned = clean_email(value)
    if cleaned is None:
        raise refuse("email")
    return cleaned


def _key(value: str) -> str:
    if not _KEY.match(value):
        raise refuse("field_key")
    return value


def _number(value: object) -> object:
    """A number is kept as text, exactly as it was meant: no binary fractions."""
    if value is None or isinstance(value, bool):
        raise refuse("number")
    try:
        found = Decimal(str(value).strip())
    except InvalidOperation:
        raise refuse("number") from None
    exponent = found.as_tuple().exponent
    if not isinstance(exponent, int) or abs(found) >= 10**15 or not -10 <= exponent <= 15:
        raise refuse("number")
    return format(found, "f")


def _day(value: object) -> object:
    try:
        return date.fromisoformat(str(value)).isoformat()
    except ValueError:
        raise refuse("day") from None


_TYPES: dict[str, Any] = {
    FieldKind.TEXT: Annotated[str, Line(500)],
    FieldKind.NUMBER: Annotated[str, BeforeValidator(_number)],
    FieldKind.DATE: Annotated[str, BeforeValidator(_day)],
    FieldKind.YES_NO: bool,
}


def attributes_model(fields: Iterable[UserField]) -> type[BaseModel]:
    """The model of a user's attributes, made of the tenant's fields; an empty value is no value.

    Its fields have names of our own, and the keys as aliases: a key may be what the model itself calls something.
    """
    made: dict[str, Any] = {}
    for number, field in enumerate(fields):
        kind = Literal[tuple(field.choices)] if field.kind == FieldKind.CHOICE else _TYPES[field.kind]
        if field.required:
            made[f"value_{number}"] = (kind, Field(alias=field.key))
        else:
            made[f"value_{number}"] = (kind | None, Field(None, alias=field.key))
    base = create_model("_Attributes", __config__=ConfigDict(extra="forbid"), **made)

    class Attributes(base):
        @model_validator(mode="before")
        @classmethod
        def _empty_is_none(cls, values: Any) -> Any:
            if not isinstance(values, dict):
                return values
            return {key: value for key, value in values.items() if value is not None and value != ""}

    return Attributes


_ATTRIBUTES = Field(description="Values of the tenant's own fields, by key", max_length=30)


class UserUpdate(BaseModel):
    """What can be changed of a user. Unknown fields are refused."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"display_name": "鈴木 一郎", "roles": [], "attributes": {}}]},
    )

    display_name: Annotated[str, Line(100)] = ""
    roles: Annotated[list[Annotated[int, Field(ge=1, le=2**63 - 1)]], Field(max_length=100)] = []
    attributes: Annotated[dict[str, str | bool | int | float | None], _ATTRIBUTES] = {}


class UserInput(UserUpdate):
    """A user to be invited. The e-mail can not be changed later: delete the user and invite again."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"email": "suzuki@example.co.jp", "display_name": "鈴木 一郎", "roles": [], "attributes": {}}]
        },
    )

    email: Annotated[str, Line(320, min_length=1), AfterValidator(_email)]


class UserOutput(BaseModel):
    """A user."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": 2,
                    "email": "suzuki@example.co.jp",
                    "display_name": "鈴木 一郎",
                    "status": "invited",
                    "is_master": False,
                    "roles": [1],
                    "attributes": {},
                    "second_factor": False,
                    "invited_until": "2026-04-04T09:00:00+09:00",
                    "undelivered": UNDELIVERED,
                    "created_at": "2026-04-01T09:00:00+09:00",
                }
            ]
        }
    )

    id: int
    email: str
    display_name: str
    status: Status
    is_master: bool
    roles: list[int]
    attributes: dict[str, Any]
    second_factor: bool
    invited_until: Annotated[datetime | None, Field(description="End of the invitation, if one was sent")]
    undelivered: Annotated[
        UndeliveredMail | None,
        Field(description="The newest mail to the user about the account, if it was given up; kept for 30 days"),
    ]
    created_at: datetime


class UserList(BaseModel):
    """All users that were asked for."""

    items: list[UserOutput]


class FieldInput(BaseModel):
    """A field as the master defines it. Key and kind stay as they are for ever."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"key": "office", "label": "勤務地", "kind": "choice", "required": False, "choices": ["東京", "大阪"]}
            ]
        },
    )

    key: Annotated[str, Line(40), AfterValidator(_key)]
    label: Annotated[str, Line(50, min_length=1)]
    kind: FieldKind
    required: bool = False
    choices: Annotated[list[Annotated[str, Line(50, min_length=1)]], Field(max_length=50)] = []

    @model_validator(mode="after")
    def _choices_for_choice(self) -> FieldInput:
        if self.kind is FieldKind.CHOICE and (not self.choices or len(set(self.choices)) < len(self.choices)):
            raise refuse("choices")
        return self


class FieldOutput(BaseModel):
    """A field as it is kept."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": 1,
                    "key": "office",
                    "label": "勤務地",
                    "kind": "choice",
                    "required": False,
                    "choices": ["東京", "大阪"],
                }
            ]
        }
    )

    id: int
    key: str
    label: str
    kind: FieldKind
    required: bool
    choices: list[str]


class FieldList(BaseModel):
    """All fields in their order."""

    items: list[FieldOutput]
