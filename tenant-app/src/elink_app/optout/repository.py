"""All SQL of opting out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.deliveries.models import Delivery, DeliveryRecipient, MailSecret
from elink_app.deliveries.states import Category, DeliveryState, RecipientState
from elink_app.mail.tokens import RecipientIds
from elink_app.optout.models import OptOut

_UNFINISHED = tuple(
    state.value
    for state in (DeliveryState.SCHEDULED, DeliveryState.HOLDING, DeliveryState.SENDING, DeliveryState.PAUSED)
)
_WAITING = (RecipientState.QUEUED.value, RecipientState.DEFERRED.value)


@dataclass(frozen=True)
class Recipient:
    """To whom a mail went."""

    ids: RecipientIds
    email: str
    email_key: str
    category: Category
    sender: str


def newest_choice(email_key: Any) -> Select[Any]:
    """The decision that counts for an e-mail, as a subquery."""
    return select(OptOut.choice).where(OptOut.email_key == email_key).order_by(OptOut.id.desc()).limit(1)


class OptOutRepository:
    """Reads and writes within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def secret(self) -> bytes | None:
        """The tenant's key of links; None while no mail was ever made."""
        found = await self._session.get(MailSecret, 1)
        return found.secret if found is not None else None

    async def recipient(self, ids: RecipientIds) -> Recipient | None:
        """The row that a token names."""
        statement = (
            select(
                DeliveryRecipient.email, DeliveryRecipient.email_key, Delivery.category, Delivery.from_name,
                Delivery.from_address,
            )
            .join(Delivery, Delivery.id == DeliveryRecipient.delivery_id)
            .where(DeliveryRecipient.delivery_id == ids.delivery_id, DeliveryRecipient.id == ids.recipient_id)
        )  # fmt: skip
        row = (await self._session.execute(statement)).one_or_none()
        if row is None:
            return None
        return Recipient(ids, row[0], row[1], Category(row[2]), row[3] or row[4])

    async def newest(self, email_key: str) -> str | None:
        """The decision that counts."""
        statement = select(OptOut.choice).where(OptOut.email_key == email_key).order_by(OptOut.id.desc()).limit(1)
        return await self._session.scalar(statement)

    async def add(self, person: Recipient, choice: str, how: str, now: datetime) -> None:
        """Write a decision down."""
        self._session.add(
            OptOut(
                email_key=person.email_key, choice=choice, how=how, delivery_id=person.ids.delivery_id,
                recipient_id=person.ids.recipient_id, at=now,
            )
        )  # fmt: skip
        await self._session.flush()

    async def skip_waiting(self, email_key: str, now: datetime, *, adverts_only: bool) -> int:
        """What still waits for this e-mail does not leave any more; returns how many mails."""
        unfinished = select(Delivery.id).where(Delivery.state.in_(_UNFINISHED))
        if adverts_only:
            unfinished = unfinished.where(Delivery.category == Category.ADVERT.value)
        skipped = await self._session.scalars(
            update(DeliveryRecipient)
            .where(
                DeliveryRecipient.delivery_id.in_(unfinished),
                DeliveryRecipient.email_key == email_key,
                DeliveryRecipient.state.in_(_WAITING),
            )
            .values(state=RecipientState.SKIPPED.value, reply="suppressed", next_at=None, updated_at=now)
            .returning(DeliveryRecipient.delivery_id)
        )
        counts = Counter(skipped.all())
        for delivery_id in sorted(counts):
            await self._session.execute(
                update(Delivery)
                .where(Delivery.id == delivery_id)
                .values(skipped=Delivery.skipped + counts[delivery_id])
            )
        return counts.total()
