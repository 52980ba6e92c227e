"""Which segments name a tag or an own field, as parts of queries."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.permissions import Principal
from elink_app.addresses.models import Tag
from elink_app.addresses.visibility import forbidden_labels
from elink_app.segments.models import Segment

_TAG = """'$.** ? (@.kind == "tag" && @.tag_id == $named)'::jsonpath"""
_FIELD = """'$.** ? (@.kind == "attribute" && @.key == $named)'::jsonpath"""


def names_tag(tree: Any, tag_id: Any) -> ColumnElement[bool]:
    """Whether a tree of conditions names the tag."""
    return _names(tree, _TAG, tag_id)


def names_field(tree: Any, key: Any) -> ColumnElement[bool]:
    """Whether a tree of conditions names the own field."""
    return _names(tree, _FIELD, key)


async def segment_names(session: AsyncSession, principal: Principal, where: ColumnElement[bool]) -> list[str]:
    """Names of the segments that fulfil `where`; empty for one that names a label hidden from the account."""
    hidden = select(Tag.id).where(Tag.id.in_(forbidden_labels(principal)), names_tag(Segment.tree, Tag.id))
    statement = select(Segment.name, hidden.correlate(Segment).exists()).where(where).order_by(Segment.name)
    return ["" if row[1] else row[0] for row in await session.execute(statement)]


def _names(tree: Any, path: str, named: Any) -> ColumnElement[bool]:
    found: ColumnElement[bool] = func.jsonb_path_exists(
        tree, literal_column(path), func.jsonb_build_object("named", named)
    )
    return found
