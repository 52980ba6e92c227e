"""All SQL of the pages of deliveries; the worker's own is beside the worker."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import CTE, ColumnElement, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.deliveries.draft_models import DeliveryDraft, DeliveryEvent
from elink_app.deliveries.models import Delivery, DeliveryRecipient
from elink_app.deliveries.states import RecipientState

# Steps by which somebody becomes an author of the content.
WRITING = ("made", "saved", "requested", "attached", "detached")
TESTED = "tested"


class DeliveryRepository:
    """Reads and writes within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def page(self, before: int | None, state: str, size: int) -> Sequence[tuple[Delivery, DeliveryDraft]]:
        """Deliveries with ids below `before`, the newest first."""
        statement = select(Delivery, DeliveryDraft).join(DeliveryDraft, DeliveryDraft.delivery_id == Delivery.id)
        if before is not None:
            statement = statement.where(Delivery.id < before)
        if state:
            statement = statement.where(Delivery.state == state)
        rows = await self._session.execute(statement.order_by(Delivery.id.desc()).limit(size))
        return [(row[0], row[1]) for row in rows]

    async def get(self, delivery_id: int, *, lock: bool = False) -> tuple[Delivery, DeliveryDraft] | None:
        """A delivery and its draft; `lock` holds the delivery until the end of the transaction."""
        statement = (
            select(Delivery, DeliveryDraft)
            .join(DeliveryDraft, DeliveryDraft.delivery_id == Delivery.id)
            .where(Delivery.id == delivery_id)
            .execution_options(populate_existing=True)
        )
        if lock:
            statement = statement.with_for_update(of=Delivery)
        row = (await self._session.execute(statement)).one_or_none()
        return (row[0], row[1]) if row is not None else None

    async def add(self, delivery: Delivery) -> None:
        """Insert a delivery."""
        self._session.add(delivery)
        await self._session.flush()

    async def save_draft(self, delivery_id: int, values: dict[str, Any]) -> None:
        """Keep the author's words."""
        statement = insert(DeliveryDraft).values(delivery_id=delivery_id, **values)
        await self._session.execute(statement.on_conflict_do_update(index_elements=["delivery_id"], set_=values))

    async def change(self, delivery_id: int, values: dict[str, Any]) -> None:
        """Change columns of a delivery that this transaction holds."""
        await self._session.execute(update(Delivery).where(Delivery.id == delivery_id).values(**values))

    async def remember(
        self, delivery_id: int, action: str, account_id: int | None, actor: str, at: datetime,
        detail: dict[str, Any] | None,
    ) -> None:  # fmt: skip
        """Add a step to the history."""
        self._session.add(
            DeliveryEvent(
                delivery_id=delivery_id, action=action, account_id=account_id, actor=actor, at=at, detail=detail
            )
        )
        await self._session.flush()

    async def events(self, delivery_id: int, limit: int) -> Sequence[DeliveryEvent]:
        """The history, the newest step first."""
        statement = select(DeliveryEvent).where(DeliveryEvent.delivery_id == delivery_id)
        return (await self._session.scalars(statement.order_by(DeliveryEvent.id.desc()).limit(limit))).all()

    async def newest_test(self, delivery_id: int, account_id: int) -> DeliveryEvent | None:
        """The account's newest test mails of the delivery."""
        statement = select(DeliveryEvent).where(
            DeliveryEvent.delivery_id == delivery_id,
            DeliveryEvent.account_id == account_id,
            DeliveryEvent.action == TESTED,
        )
        return (await self._session.scalars(statement.order_by(DeliveryEvent.id.desc()).limit(1))).one_or_none()

    async def is_author(self, delivery_id: int, account_id: int) -> bool:
        """True when the account made, changed or put up the delivery at any time."""
        statement = (
            select(DeliveryEvent.id)
            .where(
                DeliveryEvent.delivery_id == delivery_id,
                DeliveryEvent.account_id == account_id,
                DeliveryEvent.action.in_(WRITING),
            )
            .limit(1)
        )
        return await self._session.scalar(statement) is not None

    async def recipients(
        self, delivery_id: int, *, state: str, email: str, after: int, size: int, visible: Any = None
    ) -> Sequence[DeliveryRecipient]:
        """Recipients with ids above `after`, in their order."""
        statement = select(DeliveryRecipient).where(
            DeliveryRecipient.delivery_id == delivery_id, DeliveryRecipient.id > after
        )
        if state:
            statement = statement.where(DeliveryRecipient.state == state)
        if email:
            statement = statement.where(DeliveryRecipient.email_key.contains(email, autoescape=True))
        if visible is not None:
            statement = statement.where(visible)
        return (await self._session.scalars(statement.order_by(DeliveryRecipient.id).limit(size))).all()

    async def counts(self, delivery_ids: Sequence[int], visible: ColumnElement[bool]) -> dict[int, dict[str, int]]:
        """By delivery: how many recipients that fulfil `visible` are in each state."""
        statement = (
            select(DeliveryRecipient.delivery_id, DeliveryRecipient.state, func.count())
            .where(DeliveryRecipient.delivery_id.in_(delivery_ids), visible)
            .group_by(DeliveryRecipient.delivery_id, DeliveryRecipient.state)
        )
        found: dict[int, dict[str, int]] = {}
        for delivery_id, state, count in (await self._session.execute(statement)).all():
            found.setdefault(delivery_id, {})[state] = count
        return found

    async def forget_recipients(self, delivery_id: int) -> None:
        """Take the frozen audience back; only before anything was sent."""
        await self._session.execute(delete(DeliveryRecipient).where(DeliveryRecipient.delivery_id == delivery_id))

    async def count_unknown(self, delivery_id: int, visible: ColumnElement[bool]) -> int:
        """How many mails that fulfil `visible` have an outcome that nobody knows."""
        unknown = (DeliveryRecipient.delivery_id == delivery_id, DeliveryRecipient.state == RecipientState.UNKNOWN)
        statement = select(func.count()).select_from(DeliveryRecipient).where(*unknown, visible)
        return await self._session.scalar(statement) or 0

    async def queue_unknown(self, delivery_id: int, visible: ColumnElement[bool], now: datetime) -> int:
        """The same mails are sent again; returns how many. One of which a report comes in just now is known."""
        unknown = _held(delivery_id, DeliveryRecipient.state == RecipientState.UNKNOWN.value, visible)
        values = {"state": RecipientState.QUEUED.value, "next_at": now, "updated_at": now}
        return await self._change_held(delivery_id, unknown, values)

    async def skip_waiting(self, delivery_id: int, now: datetime) -> int:
        """Nobody who still waits gets it; what is in the worker's hands stays there. Returns how many."""
        states = (RecipientState.QUEUED.value, RecipientState.DEFERRED.value)
        waiting = _held(delivery_id, DeliveryRecipient.next_at.is_not(None), DeliveryRecipient.state.in_(states))
        values = {"state": RecipientState.SKIPPED.value, "reply": "cancelled", "next_at": None, "updated_at": now}
        return await self._change_held(delivery_id, waiting, values)

    async def _change_held(self, delivery_id: int, rows: CTE, values: dict[str, Any]) -> int:
        result = await self._session.execute(
            update(DeliveryRecipient)
            .where(DeliveryRecipient.delivery_id == delivery_id, DeliveryRecipient.id == rows.c.id)
            .values(values)
            .returning(DeliveryRecipient.id)
            .execution_options(synchronize_session=False)
        )
        return len(result.all())


def _held(delivery_id: int, *conditions: ColumnElement[bool]) -> CTE:
    """Recipients that nobody else holds. The worker holds some and then wants the delivery, to count them: whoever
    holds the delivery waits for none."""
    rows = select(DeliveryRecipient.id).where(DeliveryRecipient.delivery_id == delivery_id, *conditions)
    return rows.with_for_update(skip_locked=True).cte("held")
