"""Columns that follow from the fields of an address. Whoever writes addresses in bulk writes these too."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from elink_app.numbers import number_text
from elink_app.text import pairs, search_form, sort_key

_NO_DIGITS = re.compile("[^0-9]+")


class Fields(Protocol):
    """The fields that count: an AddressInput or an Address has them."""

    name: str
    kana: str
    company: str
    phone: str
    notes: str


def search_fields(data: Fields, emails: Sequence[str], attributes: Mapping[str, Any]) -> tuple[str, list[str]]:
    """What a search looks through, as text and as index entries. Tags are not in it: they are renamed elsewhere."""
    return _joined(_forms(data, emails, attributes))


def _forms(data: Fields, emails: Sequence[str], attributes: Mapping[str, Any]) -> list[str]:
    """What is looked through, in search form, one by one: name, reading and company come first."""
    values = [
        value if isinstance(value, str) else number_text(value)
        for value in attributes.values()
        if not isinstance(value, bool)
    ]
    digits = _NO_DIGITS.sub("", data.phone)
    return [
        search_form(part)
        for part in (data.name, data.kana, data.company, *emails, data.phone, digits, data.notes, *values)
    ]


def _joined(forms: Sequence[str]) -> tuple[str, list[str]]:
    once = list(dict.fromkeys(filter(None, forms)))
    text = "\n".join(once)
    # The pairs of all in one go, without those across a border: no form has white space of its own.
    found = set(pairs(text))
    for one, other in itertools.pairwise(once):
        found -= {f"{one[-1]}\n", f"\n{other[0]}"}
    return text, sorted(found)


def computed(data: Fields, emails: Sequence[str], attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Values by column name."""
    forms = _forms(data, emails, attributes)
    name, kana, company = forms[:3]
    text, index = _joined(forms)
    return {
        "sort_key": sort_key(kana if data.kana else name),
        "search_text": text,
        "search_grams": index,
        "name_form": name,
        "company_form": company,
        "phone_digits": _NO_DIGITS.sub("", data.phone),
    }
