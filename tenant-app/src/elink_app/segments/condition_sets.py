"""The conditions of the address book as sets of ids, each by an index of its own: for counting among many addresses.

They say the same as their SQL on `Address` (`segments.conditions`), which answers for single rows.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, literal, select
from sqlalchemy.orm import InstrumentedAttribute

from elink_app.addresses.id_sets import NOBODY, IdSet
from elink_app.addresses.models import Address, AddressStanding, AddressTag, AddressValue
from elink_app.segments.conditions import (
    AttributeCondition,
    ConsentCondition,
    DateCondition,
    SuppressionCondition,
    TagCondition,
    TextCondition,
    attribute_sql,
    date_sql,
    text_sql,
)


def addresses(condition: ColumnElement[bool]) -> IdSet:
    """Live addresses by a condition on their row."""
    return IdSet(select(Address.id).where(Address.deleted_at.is_(None), condition))


def tag_ids(condition: TagCondition) -> IdSet:
    """Who bears the tag."""
    return IdSet(select(AddressTag.address_id.label("id")).where(AddressTag.tag_id == condition.tag_id))


def text_ids(condition: TextCondition) -> IdSet:
    """By the row: pairs of characters lead to candidates."""
    return addresses(text_sql(condition))


def attribute_ids(condition: AttributeCondition) -> IdSet:
    """By the type of the value, as JSON is compared: texts with texts, numbers with numbers."""
    value, operator = condition.value, condition.op
    if operator == "contains":
        return addresses(attribute_sql(condition))
    bearing = select(AddressValue.address_id.label("id")).where(AddressValue.key == condition.key)
    if operator in ("is_set", "not_set"):
        return IdSet(bearing, rest=operator == "not_set")
    if value is None:
        return NOBODY
    if isinstance(value, bool):
        flagged = bearing.where(AddressValue.number.is_(None), AddressValue.text.is_(None), AddressValue.flag == value)
        return IdSet(flagged) if operator == "is" else NOBODY
    if isinstance(value, str):
        held: InstrumentedAttribute[Any] = AddressValue.text
        bearing = bearing.where(AddressValue.number.is_(None))
    else:
        held = AddressValue.number
    other = literal(value)
    relation = {
        "is": held == other,
        "less": held < other,
        "at_most": held <= other,
        "more": held > other,
        "at_least": held >= other,
    }[operator]
    return IdSet(bearing.where(relation))


def consent_ids(condition: ConsentCondition) -> IdSet:
    """By the first e-mail."""
    known = select(AddressStanding.address_id.label("id"))
    if condition.state == "none":
        return IdSet(known.where(AddressStanding.consent.is_not(None)), rest=True)
    return IdSet(known.where(AddressStanding.consent == condition.state))


def suppression_ids(condition: SuppressionCondition) -> IdSet:
    """By the first e-mail."""
    listed = select(AddressStanding.address_id.label("id")).where(AddressStanding.suppressed)
    return IdSet(listed, rest=not condition.suppressed)


def date_ids(condition: DateCondition) -> IdSet:
    """By the index of the date."""
    return addresses(date_sql(condition))
