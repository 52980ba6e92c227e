"""All SQL of counted links."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, case, delete, func, insert, or_, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.clicks.models import DeliveryClick, DeliveryLink
from elink_app.deliveries.models import Delivery, DeliveryRecipient, MailSecret
from elink_app.mail.tokens import ClickIds

# What is asked between the two statements of a visit must not change meanwhile: scanners open links at the same moment.
_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")
_KEEP_COUNTS = text("""
WITH seen AS (
    SELECT number, count(human_at) AS human, count(*) - count(human_at) AS machine FROM delivery_click
    WHERE delivery_id = :delivery GROUP BY number
)
UPDATE delivery_link l SET human = seen.human, machine = seen.machine
FROM seen WHERE l.delivery_id = :delivery AND l.number = seen.number
""")
# LATERAL: an index look-up for each such delivery, whatever rows others have.
_ERASE = text("""
DELETE FROM delivery_click WHERE (delivery_id, recipient_id, number) IN (
    SELECT c.delivery_id, c.recipient_id, c.number FROM delivery d
    CROSS JOIN LATERAL (SELECT * FROM delivery_click WHERE delivery_id = d.id LIMIT :most) c
    WHERE d.clicks_ended_at >= :since LIMIT :most
) RETURNING 1
""")


@dataclass(frozen=True)
class Target:
    """Where a token leads, if `secret` made it."""

    secret: bytes
    frozen: str
    url: str


@dataclass(frozen=True)
class Counted:
    """A link with the numbers of its recipients."""

    number: int
    url: str
    human: int
    machine: int


class ClickRepository:
    """Reads and writes within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def target(self, ids: ClickIds) -> Target | None:
        """What the ids name; they are not proved yet."""
        statement = (
            select(MailSecret.secret, Delivery.frozen_at, DeliveryLink.url)
            .select_from(DeliveryLink)
            .join(Delivery, Delivery.id == DeliveryLink.delivery_id)
            .join(MailSecret, MailSecret.id == 1)
            .where(DeliveryLink.delivery_id == ids.delivery_id, DeliveryLink.number == ids.number)
        )
        row = (await self._session.execute(statement)).one_or_none()
        return Target(row[0], row[1].isoformat(), row[2]) if row is not None and row[1] is not None else None

    async def mail_at(self, ids: ClickIds, ended_before: datetime) -> datetime | None:
        """When the recipient's mail was handed over; None when its visits are not counted any more."""
        statement = (
            select(DeliveryRecipient.updated_at)
            .join(Delivery, Delivery.id == DeliveryRecipient.delivery_id)
            .where(
                DeliveryRecipient.delivery_id == ids.delivery_id,
                DeliveryRecipient.id == ids.recipient_id,
                Delivery.clicks_ended_at.is_(None),
                or_(Delivery.finished_at.is_(None), Delivery.finished_at > ended_before),
            )
        )
        return await self._session.scalar(statement)

    async def hold_recipient(self, ids: ClickIds) -> None:
        """Other visits of this recipient's links wait until the end of the transaction."""
        key = f"delivery_click {ids.delivery_id} {ids.recipient_id}"
        await self._session.execute(_ONE_AT_A_TIME, {"key": key})

    async def others_seen_at(self, ids: ClickIds) -> list[datetime]:
        """The newest visit of each of the recipient's other links."""
        statement = select(DeliveryClick.seen_at).where(*_of(ids), DeliveryClick.number != ids.number)
        return list(await self._session.scalars(statement))

    async def add(self, ids: ClickIds, now: datetime, human_at: datetime | None) -> None:
        """Write a visit down; a link that a person has opened stays one."""
        statement = postgresql.insert(DeliveryClick).values(
            delivery_id=ids.delivery_id, recipient_id=ids.recipient_id, number=ids.number, seen_at=now,
            human_at=human_at,
        )  # fmt: skip
        await self._session.execute(
            statement.on_conflict_do_update(
                index_elements=["delivery_id", "recipient_id", "number"],
                set_={
                    "seen_at": statement.excluded.seen_at,
                    "human_at": func.coalesce(DeliveryClick.human_at, statement.excluded.human_at),
                },
            )
        )

    async def doubt(self, ids: ClickIds, since: datetime, until: datetime) -> None:
        """Visits of this recipient between these moments were no person's after all."""
        within = (DeliveryClick.human_at > since, DeliveryClick.human_at < until)
        await self._session.execute(update(DeliveryClick).where(*_of(ids), *within).values(human_at=None))

    async def freeze(self, delivery_id: int, urls: Sequence[str]) -> None:
        """Keep the links of a delivery, numbered from 1."""
        rows = [{"delivery_id": delivery_id, "number": at, "url": url} for at, url in enumerate(urls, 1)]
        if rows:
            await self._session.execute(insert(DeliveryLink), rows)

    async def forget(self, delivery_id: int) -> None:
        """Take them back; only before anything was sent."""
        await self._session.execute(delete(DeliveryLink).where(DeliveryLink.delivery_id == delivery_id))

    async def links(self, delivery_id: int) -> Mapping[str, int]:
        """The number of each URL of a delivery."""
        statement = select(DeliveryLink.url, DeliveryLink.number).where(DeliveryLink.delivery_id == delivery_id)
        return {row[0]: row[1] for row in await self._session.execute(statement.order_by(DeliveryLink.number))}

    async def counts(self, delivery_id: int) -> list[Counted]:
        """Each link with its recipients: kept for good where the counting has ended, else counted now."""
        seen = (
            select(
                DeliveryClick.number, func.count(DeliveryClick.human_at).label("human"), func.count().label("everybody")
            )
            .where(DeliveryClick.delivery_id == delivery_id)
            .group_by(DeliveryClick.number)
            .subquery()
        )
        ended = Delivery.clicks_ended_at.is_not(None)
        now_human, now_all = func.coalesce(seen.c.human, 0), func.coalesce(seen.c.everybody, 0)
        statement = (
            select(
                DeliveryLink.number, DeliveryLink.url, case((ended, DeliveryLink.human), else_=now_human),
                case((ended, DeliveryLink.machine), else_=now_all - now_human),
            )
            .join(Delivery, Delivery.id == DeliveryLink.delivery_id)
            .outerjoin(seen, seen.c.number == DeliveryLink.number)
            .where(DeliveryLink.delivery_id == delivery_id)
            .order_by(DeliveryLink.number)
        )  # fmt: skip
        return [Counted(*row) for row in await self._session.execute(statement)]

    async def end(self, ended_before: datetime, now: datetime) -> int:
        """Deliveries whose time of counting is over keep their counts, and no more are made; returns how many ended."""
        statement = select(Delivery.id).where(
            Delivery.count_clicks, Delivery.clicks_ended_at.is_(None), Delivery.finished_at <= ended_before
        )
        over = (await self._session.scalars(statement.with_for_update(skip_locked=True))).all()
        for delivery_id in over:
            await self._session.execute(_KEEP_COUNTS, {"delivery": delivery_id})
        if over:
            await self._session.execute(update(Delivery).where(Delivery.id.in_(over)).values(clicks_ended_at=now))
        return len(over)

    async def erase(self, ended_since: datetime, most: int) -> int:
        """Erase rows of deliveries whose counting has ended since; returns how many."""
        return len((await self._session.scalars(_ERASE, {"since": ended_since, "most": most})).all())


def _of(ids: ClickIds) -> tuple[ColumnElement[bool], ...]:
    return DeliveryClick.delivery_id == ids.delivery_id, DeliveryClick.recipient_id == ids.recipient_id
