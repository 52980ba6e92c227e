"""Sets of addresses, told by statements that yield ids, and what becomes of them in groups. Pure.

A set that is told by who is *not* in it (`rest`) costs as much as those few: nobody lists a million ids to leave out a
thousand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, CompoundSelect, Select, exists, false, select, union

from elink_app.addresses.models import Address

Ids = Select[int] | CompoundSelect[int]


@dataclass(frozen=True)
class IdSet:
    """`ids` yields each address once, in a column `id`; with `rest`, the set is all the others.

    Deleted and hidden addresses may be among them: whoever counts leaves them out.
    """

    ids: Ids
    rest: bool = False

    def __invert__(self) -> IdSet:
        return IdSet(self.ids, not self.rest)


@dataclass(frozen=True)
class Members:
    """The addresses of a segment, told in two ways: by a condition on single rows of `Address`, and as a set."""

    condition: ColumnElement[bool]
    ids: IdSet


NOBODY = IdSet(select(Address.id).where(false()))


def all_of(parts: Sequence[IdSet]) -> IdSet:
    """Those that are in every part; without parts, everybody."""
    told = [part.ids.subquery() for part in parts if not part.rest]
    without = [part.ids for part in parts if part.rest]
    if not told:
        return ~any_of([IdSet(ids) for ids in without])
    first = told[0]
    statement = select(first.c.id)
    for other in told[1:]:
        statement = statement.join(other, other.c.id == first.c.id)
    for ids in without:
        others = ids.subquery()
        statement = statement.where(~exists().where(others.c.id == first.c.id))
    return IdSet(statement)


def any_of(parts: Sequence[IdSet]) -> IdSet:
    """Those that are in one of the parts; without parts, nobody."""
    if not parts:
        return NOBODY
    if any(part.rest for part in parts):
        return ~all_of([~part for part in parts])
    return parts[0] if len(parts) == 1 else IdSet(union(*(part.ids for part in parts)))
