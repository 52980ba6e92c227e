"""From what was asked for to a condition on addresses, the same for the trial and for the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, false
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.permissions import Principal
from elink_app.addresses.repository import AddressRepository, Filter
from elink_app.attributes.schemas import AttributeValues
from elink_app.attributes.service import definitions
from elink_app.segments.compile import tree_condition
from elink_app.segments.schemas import TREE
from elink_app.text import search_form, search_terms
from elink_app.utilities.programs import would_change
from elink_app.utilities.repository import UtilityRepository
from elink_app.utilities.schemas import ATTRIBUTE, EditProgram, Program, RetagProgram


@dataclass(frozen=True)
class Wanted:
    """The addresses that a program would change; `audience` without looking at what they are now."""

    audience: ColumnElement[bool]
    condition: ColumnElement[bool]
    # What an edit sets; None clears.
    value: Any


async def wanted(db: AsyncSession, principal: Principal, program: Program, tree: dict[str, Any] | None) -> Wanted:
    """`tree`: the segment's as it was when the program was tried."""
    rows = UtilityRepository(db, principal)
    segment = tree_condition(TREE.validate_python(tree)) if tree is not None else None
    target = program.target
    asked = Filter(tuple(search_terms(target.q)), target.tag, segment)
    audience = and_(True, *await AddressRepository(db, principal).conditions(asked))
    tags: dict[str, int] = {}
    if isinstance(program, RetagProgram):
        tags = await rows.tag_ids([search_form(name) for name in (*program.add, *program.remove)])
    value: Any = None
    if isinstance(program, EditProgram):
        value = program.value or None
        if program.field.startswith(ATTRIBUTE) and value is not None:
            value, wrong = AttributeValues(await definitions(db)).parse(program.field.removeprefix(ATTRIBUTE), value)
            if wrong:
                # The field or its choice is gone since the trial. Without a value it would be cleared.
                return Wanted(audience, false(), None)
    return Wanted(audience, and_(audience, would_change(program, value, tags)), value)
