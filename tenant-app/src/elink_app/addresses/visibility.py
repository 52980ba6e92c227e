"""The one place that decides which addresses an account reaches. Every query of the address book goes through it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, false, func, or_, select, true
from sqlalchemy.orm import InstrumentedAttribute, aliased

from elink_app.accounts.permissions import Principal
from elink_app.addresses.models import Address, AddressEmail, LabelRight, Tag


class Action(StrEnum):
    """What a role may do with the addresses of a label. Who may not see may do nothing else either."""

    SEE = "see"
    EXPORT = "export"
    SEND = "send"


def forbidden_labels(principal: Principal, action: Action = Action.SEE) -> Select[int]:
    """Ids of the labels whose addresses the account may not see or may not use for `action`; none for the master."""
    labels = select(Tag.id).where(Tag.is_label)
    if principal.is_master:
        return labels.where(~true())
    needed = {Action.SEE, action}
    granted = [
        exists().where(
            LabelRight.tag_id == Tag.id,
            LabelRight.action == one.value,
            LabelRight.role_id.in_(sorted(principal.roles)),
        )
        for one in sorted(needed)
    ]
    return labels.where(~and_(*granted))


def visible(principal: Principal, action: Action = Action.SEE, address: Any = Address) -> ColumnElement[bool]:
    """The condition on `address` (the entity or an alias). What it leaves out does not exist for the account."""
    if principal.is_master:
        return true()
    # Evaluated once per statement, whatever the number of rows.
    reaches: ColumnElement[bool] = ~address.tag_ids.overlap(
        func.array(forbidden_labels(principal, action).scalar_subquery())
    )
    return reaches


def restricted(principal: Principal, action: Action = Action.SEE) -> ColumnElement[bool]:
    """True when there are labels whose addresses the account may not see, or not use for `action`."""
    return false() if principal.is_master else forbidden_labels(principal, action).exists()


def id_visible(principal: Principal, address_id: Any, action: Action = Action.SEE) -> ColumnElement[bool]:
    """The same for what names an address by `address_id` and outlives it.

    Nobody knows which labels an address bore that is gone: only whom no label keeps from anything sees what is left.
    """
    if principal.is_master:
        return true()
    return or_(~restricted(principal, action), id_reached(principal, address_id, action))


def id_reached(principal: Principal, address_id: Any, action: Action = Action.SEE) -> ColumnElement[bool]:
    """The same for an account that is known to be `restricted`: without an alternative PostgreSQL joins the addresses
    and need not look each one up."""
    named = aliased(Address)
    reached: ColumnElement[bool] = (
        select(named.id).where(named.id == address_id, visible(principal, action, named)).exists()
    )
    return reached


def email_visible(
    principal: Principal, email_key: ColumnElement[str] | InstrumentedAttribute[str], action: Action = Action.SEE
) -> ColumnElement[bool]:
    """The same for what is kept by e-mail: seen when an address bears the e-mail that the account sees."""
    if principal.is_master:
        return true()
    owner, mail = aliased(Address), aliased(AddressEmail)
    bearing = select(owner.id).join(mail, mail.address_id == owner.id).where(mail.email_key == email_key)
    return or_(~restricted(principal, action), bearing.where(visible(principal, action, owner)).exists())
