"""All SQL of opting out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from elink_app.consent.models import Consent, ConsentCurrent, Suppression
from elink_app.deliveries.models import Delivery, DeliveryRecipient, MailSecret
from elink_app.deliveries.states import Category, DeliveryState, RecipientState
from elink_app.mail.tokens import RecipientIds

_UNFINISHED = tuple(
    state.value
    for state in (DeliveryState.SCHEDULED, DeliveryState.HOLDING, DeliveryState.SENDING, DeliveryState.PAUSED)
)
_UNSUBSCRIBED = "unsubscribed"
_WAITING = (RecipientState.QUEUED.value, RecipientState.DEFERRED.value)


@dataclass(frozen=True)
class Recipient:
    """To whom a mail went."""

    ids: RecipientIds
    email: str
    email_key: str
    category: Category
    sender: str


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

    async def has_unsubscribed(self, email_key: str) -> bool:
        """True when the person stopped every mail, and has not resumed it."""
        statement = select(Suppression.id).where(
            Suppression.email_key == email_key, Suppression.reason == _UNSUBSCRIBED, Suppression.lifted_at.is_(None)
        )
        return await self._session.scalar(statement) is not None

    async def consent(self, email_key: str) -> str | None:
        """`given` or `withdrawn`, whatever counts now; None when nothing is on record."""
        return await self._session.scalar(select(ConsentCurrent.kind).where(ConsentCurrent.email_key == email_key))

    async def ever_consented(self, email_key: str) -> bool:
        """True when a consent is on record, withdrawn since or not; one that was taken back as a mistake is none."""
        back = aliased(Consent)
        statement = select(Consent.id).where(
            Consent.email_key == email_key,
            Consent.kind == "given",
            ~select(back.id).where(back.retracts == Consent.id).exists(),
        )
        return await self._session.scalar(statement.limit(1)) is not None

    async def hold_waiting(self, email_key: str, *, adverts_only: bool) -> Sequence[int]:
        """The deliveries in which a mail still waits for this e-mail, held until the end of the transaction."""
        waits = select(DeliveryRecipient.id).where(
            DeliveryRecipient.delivery_id == Delivery.id,
            DeliveryRecipient.email_key == email_key,
            DeliveryRecipient.state.in_(_WAITING),
        )
        unfinished = select(Delivery.id).where(Delivery.state.in_(_UNFINISHED), waits.exists())
        if adverts_only:
            unfinished = unfinished.where(Delivery.category == Category.ADVERT.value)
        # By id, so that two decisions wait for each other and do not deadlock.
        return (await self._session.scalars(unfinished.order_by(Delivery.id).with_for_update(key_share=True))).all()

    async def skip_waiting(self, delivery_ids: Sequence[int], email_key: str, now: datetime) -> int:
        """What still waits for this e-mail in deliveries that are held does not leave any more; returns how many mails.

        One that a worker is taking at this moment is in its hands: whoever holds a delivery waits for no recipient.
        """
        waiting = (
            select(DeliveryRecipient.delivery_id, DeliveryRecipient.id)
            .where(
                DeliveryRecipient.delivery_id.in_(delivery_ids),
                DeliveryRecipient.email_key == email_key,
                DeliveryRecipient.state.in_(_WAITING),
            )
            .with_for_update(skip_locked=True)
            .cte("waiting")
        )
        skipped = await self._session.scalars(
            update(DeliveryRecipient)
            .where(DeliveryRecipient.delivery_id == waiting.c.delivery_id, DeliveryRecipient.id == waiting.c.id)
            .values(state=RecipientState.SKIPPED.value, reply="suppressed", next_at=None, updated_at=now)
            .returning(DeliveryRecipient.delivery_id)
            .execution_options(synchronize_session=False)
        )
        counts = Counter(skipped.all())
        for delivery_id in sorted(counts):
            await self._session.execute(
                update(Delivery)
                .where(Delivery.id == delivery_id)
                .values(skipped=Delivery.skipped + counts[delivery_id])
            )
        return counts.total()
