"""What an account reads of the log: what information labels hide from it does not show here either.

A line whose object is hidden is left out. What others did to many addresses at once is told without its details, and
a delivery without its number of recipients: these count hidden addresses too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    and_,
    case,
    cast,
    not_,
    null,
    or_,
    select,
    true,
    type_coerce,
    union,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from elink_app.accounts.permissions import Principal
from elink_app.addresses.models import Tag
from elink_app.addresses.visibility import Action, email_visible, forbidden_labels, id_visible, restricted
from elink_app.audit.models import AuditEntry
from elink_app.segments.naming import names_tag

_NUMBER = case((AuditEntry.key.regexp_match("^[0-9]{1,18}$"), cast(AuditEntry.key, BigInteger)))
_IN_BULK = ("job", "utility")
_BY_NETWORK_ADDRESS = "optout."


@dataclass(frozen=True)
class Sight:
    """Which lines are read, and what of `before` and `after`. `complete`: nothing is kept from the account."""

    lines: ColumnElement[bool]
    before: ColumnElement[Any]
    after: ColumnElement[Any]
    complete: bool


_EVERYTHING = Sight(true(), AuditEntry.before.expression, AuditEntry.after.expression, complete=True)


async def sight_of(db: AsyncSession, principal: Principal, action: Action = Action.SEE) -> Sight:
    """By the labels as they are now: what may be seen, or exported."""
    if not await db.scalar(select(restricted(principal, action))):
        return _EVERYTHING
    own = AuditEntry.account_id == principal.account_id
    told = or_(own, AuditEntry.kind.not_in(_IN_BULK))
    without_count = case(
        (AuditEntry.kind == "delivery", AuditEntry.after.op("-", return_type=JSONB())("recipients")),
        else_=AuditEntry.after,
    )
    return Sight(
        lines=not_(_hidden(principal, action, own)),
        before=type_coerce(case((told, AuditEntry.before), else_=null()), JSONB),
        after=type_coerce(case((told, without_count), else_=null()), JSONB),
        complete=False,
    )


def _hidden(principal: Principal, action: Action, own: ColumnElement[bool]) -> ColumnElement[bool]:
    secret = _secret_tags(principal)
    return or_(
        and_(AuditEntry.kind == "address", ~own, ~id_visible(principal, _NUMBER, action)),
        # What the account itself recorded about an e-mail it sees, whoever bears it (`consent.service`).
        and_(AuditEntry.kind == "email", ~own, ~email_visible(principal, AuditEntry.key, action)),
        and_(AuditEntry.kind == "tag", _NUMBER.in_(select(secret.c.id))),
        and_(AuditEntry.kind == "segment", _names_one_of(secret)),
        # The line does not say who it was, but where the person was.
        AuditEntry.action.startswith(_BY_NETWORK_ADDRESS, autoescape=True),
    )


def _secret_tags(principal: Principal) -> Any:
    """Ids of labels that the account may not see, and of those that are gone, which nobody may see any more."""
    line, tag = aliased(AuditEntry), aliased(Tag)
    number = cast(line.key, BigInteger)
    was_label = or_(*(side["is_label"].as_boolean() for side in (line.before, line.after)))
    gone = select(number.label("id")).where(
        line.action.in_(("tag.label", "tag.delete")), was_label, ~select(tag.id).where(tag.id == number).exists()
    )
    return union(forbidden_labels(principal), gone).cte("secret_tag")


def _names_one_of(tags: Any) -> ColumnElement[bool]:
    named = (names_tag(side, tags.c.id) for side in (AuditEntry.before, AuditEntry.after))
    return select(tags.c.id).where(or_(*named)).exists()
