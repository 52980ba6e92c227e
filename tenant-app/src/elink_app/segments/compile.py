"""From a tree to SQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, not_, or_, select

from elink_app.accounts.permissions import Principal
from elink_app.addresses.id_sets import IdSet, Members, all_of, any_of
from elink_app.addresses.models import Address
from elink_app.addresses.visibility import Action, visible
from elink_app.segments.kinds import KINDS
from elink_app.segments.schemas import TREE, Group


def tree_condition(node: Any) -> ColumnElement[bool]:
    """The condition of a tree on `Address`, as a part of a statement that has its own WHERE."""
    if not isinstance(node, Group):
        return KINDS[node.kind].sql(node)
    parts = [tree_condition(part) for part in node.of]
    if node.kind == "all":
        return and_(True, *parts)
    joined = or_(False, *parts)
    return not_(joined) if node.kind == "none" else joined


def segment_select(tree: Group | Mapping[str, Any], principal: Principal, action: Action = Action.SEE) -> Select[int]:
    """Ids of the live addresses of a segment's tree that the account may see, or may use for `action`."""
    checked = tree if isinstance(tree, Group) else TREE.validate_python(dict(tree))
    return select(Address.id).where(Address.deleted_at.is_(None), visible(principal, action), tree_condition(checked))


def tree_ids(node: Any) -> IdSet:
    """The same as a set, for counting."""
    if not isinstance(node, Group):
        return KINDS[node.kind].ids(node)
    parts = [tree_ids(part) for part in node.of]
    if node.kind == "all":
        return all_of(parts)
    return ~any_of(parts) if node.kind == "none" else any_of(parts)


def tree_members(tree: Group) -> Members:
    """Both, for lists with their count."""
    return Members(tree_condition(tree), tree_ids(tree))
