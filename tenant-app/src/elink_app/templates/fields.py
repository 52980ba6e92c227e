"""The fields that mails may use, and what they hold for one address."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Mapping, Sequence

from elink_app.addresses.schemas import AddressOutput
from elink_app.attributes.schemas import AttributeOutput, value_text
from elink_app.errors import FieldError
from elink_app.mail.placeholders import UNSUBSCRIBE_FIELD, Placeholder, PlaceholderError, parse
from elink_app.validation import field_error

# Name in mails -> column of the address. Both languages: templates are shared between people.
BUILT_IN: Mapping[str, str] = {
    "名前": "name",
    "フリガナ": "kana",
    "会社": "company",
    "メール": "email",
    "電話": "phone",
    "郵便番号": "postal_code",
    "住所": "postal_address",
    "name": "name",
    "kana": "kana",
    "company": "company",
    "email": "email",
    "phone": "phone",
    "postal_code": "postal_code",
    "postal_address": "postal_address",
}
YES, NO = "はい", "いいえ"
SAMPLE: Mapping[str, str] = {
    "name": "山田 太郎",
    "kana": "ヤマダ タロウ",
    "company": "株式会社やまだ商店",
    "email": "taro@example.co.jp",
    "phone": "03-1234-5678",
    "postal_code": "100-0001",
    "postal_address": "東京都千代田区千代田1-1",
}


def custom_names(definitions: Sequence[AttributeOutput]) -> dict[str, str]:
    """The tenant's own fields: name in mails (their label) -> key. A name of ours or of an earlier field goes first."""
    names: dict[str, str] = {}
    for one in definitions:
        name = unicodedata.normalize("NFKC", one.label).strip()
        if name not in BUILT_IN and name not in names and name != UNSUBSCRIBE_FIELD and not set(name) & set("{|}"):
            names[name] = one.key
    return names


def check_placeholders(field: str, source: str, known: frozenset[str]) -> list[FieldError]:
    """The first mistake in the grammar, or every field that there is not."""
    try:
        parts = parse(source)
    except PlaceholderError as error:
        return [field_error((field,), f"placeholder_{error.code}", excerpt=error.excerpt)]
    names = dict.fromkeys(part.name for part in parts if isinstance(part, Placeholder))
    return [
        field_error((field,), "placeholder_unknown", name=name)
        for name in names
        if name not in known and name != UNSUBSCRIBE_FIELD
    ]


def values_of(address: AddressOutput | None, custom: Mapping[str, str]) -> dict[str, str]:
    """What each field holds for an address (None: an example); `custom` as `custom_names` gives it."""
    if address is None:
        return {name: SAMPLE[column] for name, column in BUILT_IN.items()} | {name: name for name in custom}
    columns = address.model_dump(include=set(SAMPLE))
    columns["email"] = address.emails[0] if address.emails else ""
    own = {name: shown(address.attributes.get(key, "")) for name, key in custom.items()}
    return {name: str(columns[column]) for name, column in BUILT_IN.items()} | own


def shown(value: str | int | float | bool) -> str:
    """A value of an own field as mails show it; `deliveries.audience` does the same in SQL."""
    if isinstance(value, bool):
        return YES if value else NO
    return value_text(value)


def fill(source: str, values: Mapping[str, str], *, in_html: bool = False, one_line: bool = False) -> str:
    """`source` with the values in place of its placeholders, in HTML escaped, as the mail's maker does it.

    Raises PlaceholderError.
    """
    filled = []
    for part in parse(source):
        if isinstance(part, str):
            filled.append(part)
        else:
            value = values.get(part.name) or part.default
            filled.append(html.escape(value) if in_html else value)
    text = "".join(filled)
    return " ".join(text.split()) if one_line else text
