"""Columns that follow from the fields of an address. Whoever writes addresses in bulk writes these too."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from elink_app.text import grams, kana_sort_key, search_form


class Fields(Protocol):
    """The fields that count: an AddressInput or an Address has them."""

    name: str
    kana: str
    company: str
    phone: str
    notes: str


def search_fields(data: Fields, emails: Sequence[str], attributes: Mapping[str, Any]) -> tuple[str, list[str]]:
    """What a search looks through, as text and as index entries. Tags are not in it: they are renamed elsewhere."""
    values = [str(value) for value in attributes.values() if not isinstance(value, bool)]
    digits = re.sub("[^0-9]", "", data.phone)
    parts = [data.name, data.kana, data.company, *emails, data.phone, digits, data.notes, *values]
    forms = list(dict.fromkeys(form for form in map(search_form, parts) if form))
    return "\n".join(forms), sorted({gram for form in forms for gram in grams(form)})


def computed(data: Fields, emails: Sequence[str], attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Values by column name."""
    text, pairs = search_fields(data, emails, attributes)
    return {
        "sort_key": kana_sort_key(data.kana, data.name),
        "search_text": text,
        "search_grams": pairs,
        "name_form": search_form(data.name),
        "company_form": search_form(data.company),
        "phone_digits": re.sub("[^0-9]", "", data.phone),
    }
