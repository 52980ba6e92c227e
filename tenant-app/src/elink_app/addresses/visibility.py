"""The one place that decides which addresses an account reaches. Every query of the address book goes through it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select, true
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


def email_visible(
    principal: Principal, email_key: ColumnElement[str] | InstrumentedAttribute[str]
) -> ColumnElement[bool]:
    """The same for what is kept by e-mail: hidden when every address that bears the e-mail is hidden."""
    if principal.is_master:
        return true()
    owner, mail = aliased(Address), aliased(AddressEmail)
    bearing = select(owner.id).join(mail, mail.address_id == owner.id).where(mail.email_key == email_key)
    return or_(~bearing.exists(), bearing.where(visible(principal, address=owner)).exists())
