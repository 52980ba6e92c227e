"""The one list of condition kinds. Another domain adds a kind by one line: a model with `kind`, and its SQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from sqlalchemy import ColumnElement

from elink_app.segments import conditions


@dataclass(frozen=True)
class Kind:
    """`sql` makes the condition on `Address` (the entity) from a validated `model`. It may not raise."""

    model: type[BaseModel]
    sql: Callable[[Any], ColumnElement[bool]]


KINDS: Mapping[str, Kind] = {
    "tag": Kind(conditions.TagCondition, conditions.tag_sql),
    "text": Kind(conditions.TextCondition, conditions.text_sql),
    "attribute": Kind(conditions.AttributeCondition, conditions.attribute_sql),
    "consent": Kind(conditions.ConsentCondition, conditions.consent_sql),
    "suppression": Kind(conditions.SuppressionCondition, conditions.suppression_sql),
    "date": Kind(conditions.DateCondition, conditions.date_sql),
}
CONDITION_MODELS = tuple(kind.model for kind in KINDS.values())
