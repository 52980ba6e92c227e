"""Definitions of own fields, and the checking of values against them: one set of rules for forms, API and files."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model, field_validator

from elink_app.errors import FieldError
from elink_app.numbers import number_text
from elink_app.text import has_refused_character, search_form
from elink_app.validation import Line, field_errors, refuse

MAX_ATTRIBUTES = 30
MAX_CHOICES = 100
TEXT_LENGTH = 500
_KEY = re.compile(r"[a-z][a-z0-9_]{0,39}\Z")
_DATE = re.compile(r"([0-9]{4})[-/.年]([0-9]{1,2})[-/.月]([0-9]{1,2})日?\Z")
_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]{1,6})?\Z")
_LIMIT = 10**15
_YES = frozenset({"yes", "true", "1", "y", "はい", "有", "あり", "○", "〇"})
_NO = frozenset({"no", "false", "0", "n", "いいえ", "無", "なし", "×"})

Value = str | int | float | bool


def value_text(value: Value) -> str:
    """A value that is no yes or no as people read and type it."""
    return value if isinstance(value, str) else number_text(value)


def as_typed(value: Value | None) -> str:
    """A value as a person would type it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else value_text(value)


class AttributeType(StrEnum):
    """What a field holds. Values are kept as JSON: dates as `2026-04-01`, choices as their text."""

    TEXT = "text"
    NUMBER = "number"
    DATE = "date"
    CHOICE = "choice"
    YES_NO = "yes_no"


class AttributeChange(BaseModel):
    """What can be changed of a field."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"label": "会員ランク", "choices": ["A", "B", "C"], "in_list": True}]},
    )

    label: Annotated[str, Line(50, min_length=1)]
    required: bool = False
    choices: Annotated[
        list[Annotated[str, Line(100, min_length=1)]],
        Field(max_length=MAX_CHOICES, description="For choice only. One that addresses bear cannot be taken away"),
    ] = []
    position: Annotated[int, Field(ge=0, le=999)] = 0
    in_list: Annotated[bool, Field(description="Shown as a column of the list")] = False

    @field_validator("choices")
    @classmethod
    def _once(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise refuse("choice_twice")
        return value


class AttributeInput(AttributeChange):
    """A new field."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"key": "rank", "label": "会員ランク", "type": "choice", "choices": ["A", "B", "C"], "in_list": True}
            ]
        },
    )

    key: Annotated[str, Field(description="Name for programs; never changes")]
    type: Annotated[AttributeType, Field(description="Never changes")]

    @field_validator("key")
    @classmethod
    def _key(cls, value: str) -> str:
        if not _KEY.match(value):
            raise refuse("attribute_key")
        return value


class AttributeOutput(BaseModel):
    """A field as it is defined."""

    id: int
    key: str
    label: str
    type: AttributeType
    required: bool
    choices: list[str]
    position: int
    in_list: bool


def _text(value: object) -> str | None:
    if not isinstance(value, str):
        raise refuse("string_type")
    plain = value.strip()
    if has_refused_character(plain):
        raise refuse("control_character")
    if len(plain) > TEXT_LENGTH:
        raise refuse("string_too_long", max_length=TEXT_LENGTH)
    return plain or None


def _number(value: object) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise refuse("number")
    if not isinstance(value, str):
        if abs(value) >= _LIMIT or not math.isfinite(value):
            raise refuse("number")
        value = number_text(value).removesuffix(".0")
    plain = unicodedata.normalize("NFKC", value).replace(",", "").strip()
    if not plain:
        return None
    if not _NUMBER.match(plain):
        raise refuse("number")
    number = Decimal(plain)
    if number == number.to_integral_value():
        return int(number)
    # Of 15 digits with many decimal places the nearest number that can be kept may be one of 16.
    if abs(found := float(number)) >= _LIMIT:
        raise refuse("number")
    return found


def _date(value: object) -> str | None:
    if not isinstance(value, str):
        raise refuse("date")
    plain = unicodedata.normalize("NFKC", value).strip()
    if not plain:
        return None
    found = _DATE.match(plain)
    if found is None:
        raise refuse("date")
    try:
        return date(int(found[1]), int(found[2]), int(found[3])).isoformat()
    except ValueError:
        raise refuse("date") from None


def _yes_no(value: object) -> bool | None:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise refuse("yes_no")
    plain = unicodedata.normalize("NFKC", value).strip().lower()
    if not plain:
        return None
    if plain in _YES or plain in _NO:
        return plain in _YES
    raise refuse("yes_no")


def _choice(choices: Sequence[str]) -> Callable[[object], str | None]:
    by_form = {search_form(choice): choice for choice in reversed(choices)}

    def check(value: object) -> str | None:
        plain = _text(value)
        if plain is None or plain in choices:
            return plain
        if (found := by_form.get(search_form(plain))) is None:
            raise refuse("choice")
        return found

    return check


def _reader(definition: AttributeOutput) -> Callable[[object], Value | None]:
    readers: Mapping[AttributeType, Callable[[object], Value | None]] = {
        AttributeType.TEXT: _text,
        AttributeType.NUMBER: _number,
        AttributeType.DATE: _date,
        AttributeType.CHOICE: _choice(definition.choices),
        AttributeType.YES_NO: _yes_no,
    }
    return readers[definition.type]


def _checked(definition: AttributeOutput) -> Callable[[object], Value | None]:
    read = _reader(definition)

    def check(value: object) -> Value | None:
        found = None if value is None else read(value)
        if found is None and definition.required:
            raise refuse("required")
        return found

    return check


class AttributeValues:
    """The checking of values by the definitions as they are now; make it once for many addresses."""

    def __init__(self, definitions: Sequence[AttributeOutput]) -> None:
        self.definitions = list(definitions)
        # By names of our own: a key may be what the model itself calls something (`model_dump`).
        fields: dict[str, Any] = {
            f"V{number}": (
                Annotated[Any, BeforeValidator(_checked(one)), Field(validate_default=True, alias=one.key)],
                None,
            )
            for number, one in enumerate(definitions)
        }
        self._keys = {f"V{number}": one.key for number, one in enumerate(definitions)}
        self._model = create_model("AttributeValues", __config__=ConfigDict(extra="forbid"), **fields)

    def check(self, values: Mapping[str, object]) -> tuple[dict[str, Value], list[FieldError]]:
        """What is kept (empty values left out), and what is wrong, as fields `("attributes", key)`."""
        try:
            found = self._model.model_validate(dict(values))
        except ValidationError as error:
            return {}, [
                # Of a value that is missing the error names our own name, not the key.
                FieldError(
                    ("attributes", *(self._keys.get(str(part), part) for part in one.field)), one.code, one.message
                )
                for one in field_errors(error.errors())
            ]
        return {key: value for key, value in found.model_dump(by_alias=True).items() if value is not None}, []

    def parse(self, key: str, value: object) -> tuple[Value | None, str]:
        """One value by itself, however required, and the code of what is wrong with it."""
        definition = next((one for one in self.definitions if one.key == key), None)
        if definition is None:
            return None, "extra_forbidden"
        optional = AttributeValues([definition.model_copy(update={"required": False})])
        values, errors = optional.check({key: value})
        return values.get(key), errors[0].code if errors else ""
