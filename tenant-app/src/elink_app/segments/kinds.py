"""The one list of condition kinds. Another domain adds a kind by one line: a model with `kind`, and what it means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from sqlalchemy import ColumnElement

from elink_app.addresses.id_sets import IdSet
from elink_app.deliveries.conditions import DeliveryCondition, delivered, delivery_sql
from elink_app.segments import condition_sets, conditions


@dataclass(frozen=True)
class Kind:
    """`sql` makes the condition on `Address` (the entity) from a validated `model`, `ids` the same as a set.

    Neither may raise.
    """

    model: type[BaseModel]
    sql: Callable[[Any], ColumnElement[bool]]
    ids: Callable[[Any], IdSet]


def _delivery_ids(condition: DeliveryCondition) -> IdSet:
    return IdSet(delivered(condition).distinct(), rest=condition.outcome == "not_sent")


KINDS: Mapping[str, Kind] = {
    "tag": Kind(conditions.TagCondition, conditions.tag_sql, condition_sets.tag_ids),
    "text": Kind(conditions.TextCondition, conditions.text_sql, condition_sets.text_ids),
    "attribute": Kind(conditions.AttributeCondition, conditions.attribute_sql, condition_sets.attribute_ids),
    "consent": Kind(conditions.ConsentCondition, conditions.consent_sql, condition_sets.consent_ids),
    "suppression": Kind(conditions.SuppressionCondition, conditions.suppression_sql, condition_sets.suppression_ids),
    "delivery": Kind(DeliveryCondition, delivery_sql, _delivery_ids),
    "date": Kind(conditions.DateCondition, conditions.date_sql, condition_sets.date_ids),
}
CONDITION_MODELS = tuple(kind.model for kind in KINDS.values())
