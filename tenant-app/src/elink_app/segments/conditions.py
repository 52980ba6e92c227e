"""The conditions on what the address book itself holds: model and SQL of each. Values are bound, never written."""

from __future__ import annotations

import unicodedata
from datetime import date, datetime, time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ColumnElement, Text, and_, case, cast, func, literal, literal_column, select
from sqlalchemy.dialects.postgresql import JSONB

from elink_app.addresses.models import Address, AddressEmail
from elink_app.addresses.repository import like_pattern
from elink_app.clock import JST
from elink_app.consent.models import ConsentCurrent, Suppression
from elink_app.text import grams, search_form
from elink_app.validation import Line


class Condition(BaseModel):
    """Base of all conditions."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TagCondition(Condition):
    """Bears the tag."""

    kind: Literal["tag"]
    tag_id: Annotated[int, Field(ge=1, le=2**63 - 1, strict=True)]


class TextCondition(Condition):
    """Compares name or company; width, case, kana kind and common kanji variants make no difference."""

    kind: Literal["text"]
    field: Literal["name", "company"]
    op: Literal["contains", "starts", "is"]
    value: Annotated[str, Line(100)]


class AttributeCondition(Condition):
    """Compares one of the tenant's own fields. `is_set` and `not_set` need no value.

    `contains` is for text, `less` to `at_least` for numbers and dates. Without a value only `not_set` is fulfilled.
    """

    kind: Literal["attribute"]
    key: Annotated[str, Line(40, min_length=1)]
    op: Literal["is", "contains", "less", "at_most", "more", "at_least", "is_set", "not_set"]
    value: Annotated[str, Line(500)] | bool | Annotated[int | float, Field(ge=-1e15, le=1e15)] | None = None


class ConsentCondition(Condition):
    """What counts now for the first e-mail of the address."""

    kind: Literal["consent"]
    state: Literal["given", "withdrawn", "none"]


class SuppressionCondition(Condition):
    """Whether the first e-mail of the address gets no mail."""

    kind: Literal["suppression"]
    suppressed: bool


class DateCondition(Condition):
    """When the address was added or last saved; days of Japan Standard Time. `before` leaves the day itself out."""

    kind: Literal["date"]
    field: Literal["created", "updated"]
    op: Literal["before", "since"]
    value: Annotated[date, Field(ge=date(1970, 1, 1), le=date(2999, 12, 31))]


def tag_sql(condition: TagCondition) -> ColumnElement[bool]:
    """By the index of tags."""
    found: ColumnElement[bool] = Address.tag_ids.contains([condition.tag_id])
    return found


def text_sql(condition: TextCondition) -> ColumnElement[bool]:
    """By the forms of comparison; pairs of characters lead to candidates by the index of the search."""
    column = Address.name_form if condition.field == "name" else Address.company_form
    wanted = search_form(condition.value)
    pattern = like_pattern(wanted)
    if condition.op == "is":
        exact = column == wanted
    else:
        exact = column.like(pattern.removeprefix("%") if condition.op == "starts" else pattern)
    pairs = grams(wanted)
    return and_(Address.search_grams.contains(pairs), exact) if pairs else exact


def attribute_sql(condition: AttributeCondition) -> ColumnElement[bool]:
    """Equality by the index of values; the type of JSON decides how values are compared."""
    value, key = condition.value, condition.key
    held: ColumnElement[Any] = Address.attributes[key]
    present: ColumnElement[bool] = Address.attributes.has_key(key)
    if condition.op == "is_set":
        return present
    if condition.op == "not_set":
        return ~present
    if condition.op == "is":
        equal: ColumnElement[bool] = Address.attributes.contains({key: value})
        return equal
    plain = cast(Address.attributes[key].astext, Text(collation="C"))
    if condition.op == "contains":
        folded = func.lower(func.normalize(plain, literal_nfkc()).collate("C"))
        return func.coalesce(folded.like(like_pattern(fold(str(value)))), literal(False))
    compared: ColumnElement[Any]
    other: ColumnElement[Any]
    if isinstance(value, str):
        compared, other, kind = plain, literal(value), "string"
    else:
        compared, other, kind = held, cast(literal(value, JSONB), JSONB), "number"
    relation = {
        "less": compared < other,
        "at_most": compared <= other,
        "more": compared > other,
        "at_least": compared >= other,
    }[condition.op]
    return case((func.jsonb_typeof(held) == kind, relation), else_=literal(False))


def literal_nfkc() -> ColumnElement[Any]:
    """The keyword of PostgreSQL's normalize()."""
    return literal_column("NFKC")


def fold(value: str) -> str:
    """Width and the case of Latin letters make no difference in `contains`; PostgreSQL's lower() of collation C."""
    normal = unicodedata.normalize("NFKC", value)
    return "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in normal)


def consent_sql(condition: ConsentCondition) -> ColumnElement[bool]:
    """By the first e-mail."""
    recorded = (
        select(AddressEmail.address_id)
        .join(ConsentCurrent, ConsentCurrent.email_key == AddressEmail.email_key)
        .where(AddressEmail.address_id == Address.id, AddressEmail.position == 0)
    )
    if condition.state == "none":
        return ~recorded.exists()
    return recorded.where(ConsentCurrent.kind == condition.state).exists()


def suppression_sql(condition: SuppressionCondition) -> ColumnElement[bool]:
    """By the first e-mail."""
    listed = (
        select(AddressEmail.address_id)
        .join(Suppression, Suppression.email_key == AddressEmail.email_key)
        .where(AddressEmail.address_id == Address.id, AddressEmail.position == 0, Suppression.lifted_at.is_(None))
    ).exists()
    return listed if condition.suppressed else ~listed


def date_sql(condition: DateCondition) -> ColumnElement[bool]:
    """From midnight to midnight in Japan."""
    column = Address.created_at if condition.field == "created" else Address.updated_at
    midnight = datetime.combine(condition.value, time(), JST)
    return column < midnight if condition.op == "before" else column >= midnight
