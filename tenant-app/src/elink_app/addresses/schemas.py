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

MAX_EMAILS = 5
MAX_TAGS = 20
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


def _tag(value: str) -> str:
    if "," in value or "、" in value:
        raise refuse("tag")
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
    phone: Annotated[str, Line(40)] = ""
    postal_code: Annotated[str, Line(16)] = ""
    postal_address: Annotated[str, Lines(300)] = ""
    notes: Annotated[str, Lines(4000)] = ""
    tags: Annotated[list[TagName], Field(max_length=MAX_TAGS)] = []
    attributes: Annotated[
        dict[Annotated[str, Field(max_length=40)], str | int | float | bool | None],
        Field(max_length=50, description="The tenant's own fields by key: see /api/v1/attributes"),
    ] = {}

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
        return plain

    @field_validator("postal_code")
    @classmethod
    def _postal_code(cls, value: str) -> str:
        plain = _plain(value).removeprefix("〒").strip()
        if not _POSTAL.match(plain):
            raise refuse("postal_code")
        japanese = _JAPANESE_POSTAL.search(plain)
        return f"{plain[: japanese.start()]}{japanese[1]}-{japanese[2]}" if japanese else plain

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
