"""The condition of segments that looks at past deliveries."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from sqlalchemy import ColumnElement, Select, select

from elink_app.addresses.models import Address, AddressEmail
from elink_app.deliveries.models import DeliveryRecipient
from elink_app.deliveries.states import RecipientState
from elink_app.segments.conditions import Condition

_STATES = {
    # Left, or may have left.
    "sent": (RecipientState.ACCEPTED, RecipientState.BOUNCED, RecipientState.UNKNOWN),
    "accepted": (RecipientState.ACCEPTED,),
    "bounced": (RecipientState.BOUNCED, RecipientState.REFUSED),
}


class DeliveryCondition(Condition):
    """What became of a delivery to any e-mail of the address. `bounced`: refused or came back."""

    kind: Literal["delivery"]
    delivery_id: Annotated[int, Field(ge=1, le=2**63 - 1, strict=True)]
    outcome: Literal["sent", "accepted", "bounced", "not_sent"]


def delivered(condition: DeliveryCondition) -> Select[int]:
    """Ids of the addresses that the mail reached so (for `not_sent`: to which it was sent), some more than once.

    By e-mail: the record of a mail outlives the address that it was made from.
    """
    states = _STATES["sent" if condition.outcome == "not_sent" else condition.outcome]
    return (
        select(AddressEmail.address_id.label("id"))
        .join(DeliveryRecipient, DeliveryRecipient.email_key == AddressEmail.email_key)
        .where(
            DeliveryRecipient.delivery_id == condition.delivery_id,
            DeliveryRecipient.state.in_([state.value for state in states]),
        )
    )


def delivery_sql(condition: DeliveryCondition) -> ColumnElement[bool]:
    """By any e-mail of the address."""
    found = delivered(condition).where(AddressEmail.address_id == Address.id).exists()
    return ~found if condition.outcome == "not_sent" else found
