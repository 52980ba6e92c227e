"""A row of a file made ready for the address book, and how it goes from the process that reads to the one that writes.

Pure. Everything that is costly about a row happens here, once, and not while the database waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from elink_app.addresses.computed import computed
from elink_app.addresses.schemas import PLAIN_FIELDS, AddressInput
from elink_app.attributes.schemas import AttributeValues
from elink_app.emails import email_key
from elink_app.errors import FieldError
from elink_app.text import search_form
from elink_app.transfer.columns import Column, Columns, Reason
from elink_app.transfer.copytext import fields, text_array

# In the order of `computed`.
COMPUTED = ("sort_key", "search_text", "search_grams", "name_form", "company_form", "phone_digits")
COPIED = (*PLAIN_FIELDS, *COMPUTED, "attributes")


class Row(NamedTuple):
    """One row, checked. As JSON it is a list in this order."""

    # Counts from 1 without the heading.
    number: int
    cells: list[str]
    # Why it cannot be taken; then nothing below means anything.
    reasons: list[Reason]
    # Fields of the address that the row fills, attributes among them.
    filled: Mapping[str, Any]
    # E-mails and tags in the forms in which they are compared, in their order.
    email_keys: list[str]
    tag_keys: list[str]
    # The columns COPIED of the address that the row by itself makes, as COPY reads them.
    copied: str
    # The row says that the person consented.
    consents: bool

    @property
    def emails(self) -> list[str]:
        """E-mails of the row, in its order."""
        return list(self.filled.get("emails", ()))

    @property
    def tags(self) -> list[str]:
        """Tags of the row, in its order."""
        return list(self.filled.get("tags", ()))

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Values of own fields by key."""
        found: Mapping[str, Any] = self.filled.get("attributes", {})
        return found

    def refused(self, reasons: list[Reason]) -> Row:
        """The same row, not to be taken."""
        return _refused(self.number, self.cells, reasons)


class RowMaker:
    """Makes rows of cells, as a plan and the tenant's own fields say."""

    def __init__(self, columns: Sequence[Column], attributes: AttributeValues) -> None:
        self._columns = Columns(columns)
        self._attributes = attributes

    def row(self, number: int, cells: list[str]) -> Row:
        """The row with this number."""
        found = self._columns.to_input(cells)
        if isinstance(found, list):
            return _refused(number, cells, found)
        data, names = found
        filled = {name: getattr(data, name) for name in names}
        attributes: Mapping[str, Any] = {}
        if data.attributes:
            attributes, errors = self._attributes.check(data.attributes)
            if errors:
                return _refused(number, cells, [_reason(error) for error in errors])
            filled["attributes"] = attributes
        keys, tags = [email_key(email) for email in data.emails], [search_form(tag) for tag in data.tags]
        said = self._columns.consents(cells)
        return Row(number, cells, [], filled, keys, tags, _copied(data, attributes), said)


def as_json(attributes: Mapping[str, Any]) -> str:
    """What the column `attributes` is given."""
    return orjson.dumps(dict(attributes)).decode() if attributes else "{}"


def _refused(number: int, cells: list[str], reasons: list[Reason]) -> Row:
    return Row(number, cells, reasons, {}, [], [], "", False)


def _copied(data: AddressInput, attributes: Mapping[str, Any]) -> str:
    key, search, index, *forms = computed(data, data.emails, attributes).values()
    plain = [getattr(data, name) for name in PLAIN_FIELDS]
    return fields((*plain, key, search, text_array(index), *forms, as_json(attributes)))


def _reason(error: FieldError) -> Reason:
    return str(error.field[-1]), error.code, error.message.params
