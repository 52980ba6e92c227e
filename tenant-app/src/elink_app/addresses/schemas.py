"""What goes into and comes out of the address book: one set of rules for forms and for the API."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, field_validator

from elink_app.emails import clean_email, email_key
from elink_app.text import is_kana, search_form, to_katakana
from elink_app.validation import Line, Lines, refuse

PLAIN_FIELDS = ("name", "kana", "company", "phone", "postal_code", "postal_address", "notes")
MAX_EMAILS = 5
MAX_TAGS = 20
# What the table holds.
_PHONE_LENGTH, _POSTAL_LENGTH, _TAG_KEY = 40, 16, 80
# What indexes and the cursors of lists hold of a name in search form. No character grows to more than 18.
_FORM_LENGTH, _MOST_GROWTH = 200, 18
_DASHES = re.compile("[ー−–—]")
_PHONE = re.compile(r"[0-9+() -]*\Z")
_POSTAL = re.compile(r"[0-9A-Za-z -]*\Z")
_JAPANESE_POSTAL = re.compile(r"([0-9]{3})-?([0-9]{4})\Z")

_EXAMPLE: dict[str, JsonValue] = {
    "name": "山田 太郎",
    "kana": "ヤマダ タロウ",
    "company": "株式会社やまだ商店",
    "emails": ["taro@example.co.jp"],
    "phone": "03-1234-5678",
    "postal_code": "100-0001",
    "postal_address": "東京都千代田区千代田1-1",
    "notes": "",
    "tags": ["取引先"],
    "attributes": {},
}


def _email(value: str) -> str:
    cleaned = clean_email(value)
    if cleaned is None:
        raise refuse("email")
    return cleaned


def _plain(value: str) -> str:
    """Digits and dashes as ASCII."""
    return value if value.isascii() else _DASHES.sub("-", unicodedata.normalize("NFKC", value))


def _short(value: str, most: int) -> str:
    """Measured once more: as ASCII, or with its hyphen, a text may be longer than it was typed."""
    if len(value) > most:
        raise refuse("string_too_long", max_length=most)
    return value


def _tag(value: str) -> str:
    if "," in value or "、" in value:
        raise refuse("tag")
    # One character may stand for several in the form in which names are compared.
    if len(search_form(value)) > _TAG_KEY:
        raise refuse("string_too_long", max_length=50)
    return value


Email = Annotated[str, Line(320), AfterValidator(_email)]
TagName = Annotated[str, Line(50, min_length=1), AfterValidator(_tag)]


class AddressInput(BaseModel):
    """The fields of an address that a person fills in. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    name: Annotated[str, Line(100, min_length=1), Field(description="Full name")]
    kana: Annotated[str, Line(100), Field(description="Reading; kept as full-width katakana")] = ""
    company: Annotated[str, Line(100)] = ""
    emails: Annotated[list[Email], Field(max_length=MAX_EMAILS, description="The first one is written to")] = []
    phone: Annotated[str, Line(_PHONE_LENGTH)] = ""
    postal_code: Annotated[str, Line(_POSTAL_LENGTH)] = ""
    postal_address: Annotated[str, Lines(300)] = ""
    notes: Annotated[str, Lines(4000)] = ""
    tags: Annotated[list[TagName], Field(max_length=MAX_TAGS)] = []
    attributes: Annotated[
        dict[Annotated[str, Field(max_length=40)], str | int | float | bool | None],
        Field(max_length=50, description="The tenant's own fields by key: see /api/v1/attributes"),
    ] = {}

    @field_validator("name", "company")
    @classmethod
    def _form_fits(cls, value: str) -> str:
        # As with tags: one character may stand for several in the form in which names are compared and sorted.
        if len(value) * _MOST_GROWTH > _FORM_LENGTH and len(search_form(value)) > _FORM_LENGTH:
            raise refuse("string_too_long", max_length=100)
        return value

    @field_validator("kana")
    @classmethod
    def _kana(cls, value: str) -> str:
        katakana = to_katakana(value)
        if not is_kana(katakana):
            raise refuse("kana")
        if len(katakana) > 100:
            raise refuse("string_too_long", max_length=100)
        return katakana

    @field_validator("phone")
    @classmethod
    def _phone(cls, value: str) -> str:
        plain = _plain(value)
        if not _PHONE.match(plain):
            raise refuse("phone")
        return _short(plain, _PHONE_LENGTH)

    @field_validator("postal_code")
    @classmethod
    def _postal_code(cls, value: str) -> str:
        plain = _plain(value).removeprefix("〒").strip()
        if not _POSTAL.match(plain):
            raise refuse("postal_code")
        japanese = _JAPANESE_POSTAL.search(plain)
        plain = f"{plain[: japanese.start()]}{japanese[1]}-{japanese[2]}" if japanese else plain
        return _short(plain, _POSTAL_LENGTH)

    @field_validator("emails")
    @classmethod
    def _emails_once(cls, value: list[str]) -> list[str]:
        if len(value) > 1 and len({email_key(email) for email in value}) < len(value):
            raise refuse("email_twice")
        return value

    @field_validator("tags")
    @classmethod
    def _tags_once(cls, value: list[str]) -> list[str]:
        return value if len(value) < 2 else list({search_form(tag): tag for tag in reversed(value)}.values())[::-1]


class AddressUpdate(AddressInput):
    """A replacement of all fields. With `version`, it is refused (409) when somebody saved in between."""

    version: Annotated[int | None, Field(ge=1, le=2**63 - 1, strict=True)] = None


class AddressOutput(BaseModel):
    """An address as it is kept."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": 1,
                    "version": 1,
                    **_EXAMPLE,
                    "created_at": "2026-04-01T09:00:00+09:00",
                    "updated_at": "2026-04-01T09:00:00+09:00",
                }
            ]
        }
    )

    id: int
    version: int
    name: str
    kana: str
    company: str
    emails: list[str]
    phone: str
    postal_code: str
    postal_address: str
    notes: str
    tags: list[str]
    attributes: dict[str, str | int | float | bool]
    created_at: Annotated[datetime, Field(description="With the offset of Japan Standard Time")]
    updated_at: Annotated[datetime, Field(description="With the offset of Japan Standard Time")]


class AddressPage(BaseModel):
    """One page of a list; `next` and `previous` are cursors for the same query, null at the ends."""

    items: list[AddressOutput]
    next: str | None
    previous: str | None
    total: Annotated[int, Field(description="How many match; 10001 stands for more than 10000")]
