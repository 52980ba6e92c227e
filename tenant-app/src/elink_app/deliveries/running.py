"""The rules of a delivery from the order to send on: freezing the audience, taking back, pausing, history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from elink_app.addresses.visibility import Action
from elink_app.attachments.attachment import parse
from elink_app.audit.service import Actor
from elink_app.clicks.service import forget_links, freeze_links
from elink_app.clock import JST
from elink_app.deliveries.calendar import next_business_morning
from elink_app.deliveries.errors import FilesDeleted, RestoredDelivery, WrongState
from elink_app.deliveries.models import Delivery, DeliveryRecipient
from elink_app.deliveries.schemas import DeliveryOutput, RecipientOutput, RecipientPage, Release, Resend, When
from elink_app.deliveries.sending import Sending
from elink_app.deliveries.service import Deliveries
from elink_app.deliveries.states import RESTORED, Category, DeliveryState, RecipientState
from elink_app.emails import email_key
from elink_app.errors import InvalidInput
from elink_app.validation import field_error

RECIPIENTS = 100
_FARTHEST = timedelta(days=366)


class Running:
    """What may be done with an approved delivery. Every step is one transaction that holds the delivery."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries
        self._rows = deliveries.rows
        self._clock = deliveries.clock

    async def release(self, actor: Actor, delivery_id: int, order: Release) -> DeliveryOutput:
        """Freeze the audience as it is now and start the clock.

        Raises NotFound, WrongState, ContentChanged, InvalidInput (nobody left, wrong number typed, a moment that is
        past or too far, a sender or imprint that is gone).
        """
        row, _ = await self._deliveries.load(delivery_id, lock=True)
        if DeliveryState(row.state) is not DeliveryState.APPROVED:
            raise WrongState
        self._deliveries.require_content(row)
        now = self._clock()
        when = self._moment(order, now)
        settings = await self._deliveries.senders.settings()
        if not await self._deliveries.senders.is_allowed(row.from_address):
            raise InvalidInput([field_error(("from_address",), "sender_not_allowed")])
        if row.category == Category.ADVERT.value and not settings.complete:
            raise InvalidInput([field_error(("category",), "imprint_incomplete")])
        if settings.approval_required and row.approved_at is None:
            raise WrongState
        total = await self._deliveries.audience.freeze(row, now)
        await freeze_links(self._deliveries.db, row, self._deliveries.base_url)
        if total == 0:
            raise InvalidInput([field_error(("segment_id",), "nobody_left")])
        if total > settings.type_count_above and order.typed_count != total:
            raise InvalidInput([field_error(("typed_count",), "typed_count")])
        hold = now + timedelta(minutes=settings.hold_minutes)
        later = when is not None and when > hold
        await self._deliveries.move(
            row, DeliveryState.SCHEDULED if later else DeliveryState.HOLDING,
            total=total, frozen_at=now, scheduled_at=when, hold_until=None if later else hold,
            quiet_from=settings.quiet_from, quiet_until=settings.quiet_until, resend_unknown=settings.resend_unknown,
        )  # fmt: skip
        moment = (when or hold).astimezone(JST).isoformat()
        return await self._deliveries.step(actor, row.id, "released", recipients=total, moment=moment)

    async def take_back(self, actor: Actor, delivery_id: int) -> DeliveryOutput:
        """Undo the order to send while nothing has left; the approval stays. Raises NotFound, WrongState."""
        row, _ = await self._deliveries.load(delivery_id, lock=True)
        if DeliveryState(row.state) not in (DeliveryState.HOLDING, DeliveryState.SCHEDULED):
            raise WrongState
        await self._rows.forget_recipients(row.id)
        await forget_links(self._deliveries.db, row.id)
        await self._deliveries.move(
            row, DeliveryState.APPROVED, total=0, frozen_at=None, scheduled_at=None, hold_until=None
        )
        return await self._deliveries.step(actor, row.id, "taken_back")

    async def pause(self, actor: Actor, delivery_id: int) -> DeliveryOutput:
        """Stand still; the worker notices within a second. Raises NotFound, WrongState."""
        row, _ = await self._deliveries.load(delivery_id, lock=True)
        await self._deliveries.move(row, DeliveryState.PAUSED)
        return await self._deliveries.step(actor, row.id, "paused")

    async def resume(self, actor: Actor, delivery_id: int, *, accept_repeats: bool = False) -> DeliveryOutput:
        """Go on with whoever has not got it, at once or at the order's moment while that is still to come.

        Raises NotFound, WrongState, ContentChanged.
        `RestoredDelivery` when the data was restored and the person does not `accept_repeats`.
        """
        row, _ = await self._deliveries.load(delivery_id, lock=True)
        if DeliveryState(row.state) is not DeliveryState.PAUSED:
            raise WrongState
        self._deliveries.require_content(row)
        if row.state_reason == RESTORED and not accept_repeats:
            raise RestoredDelivery
        now = self._clock()
        if row.started_at is None and row.scheduled_at is not None and row.scheduled_at > now:
            await self._deliveries.move(row, DeliveryState.SCHEDULED)
        else:
            # One that never began has no start yet, and from the start the time is counted for which mails are put off.
            await self._deliveries.move(row, DeliveryState.SENDING, started_at=row.started_at or now)
        return await self._deliveries.step(actor, row.id, "resumed")

    async def cancel(self, actor: Actor, delivery_id: int) -> DeliveryOutput:
        """End it for good: whoever still waits gets nothing. Raises NotFound, WrongState.

        Not finished before what is in a worker's hands has come to an end: the worker looks after that.
        """
        row, _ = await self._deliveries.load(delivery_id, lock=True)
        now = self._clock()
        await self._deliveries.move(row, DeliveryState.CANCELLED)
        skipped = await self._rows.skip_waiting(row.id, now)
        await self._rows.change(row.id, {"skipped": Delivery.skipped + skipped})
        await Sending(self._deliveries.db).finish(row.id, now)
        return await self._deliveries.step(actor, row.id, "cancelled", recipients=skipped)

    async def unknown(self, delivery_id: int) -> int:
        """How many mails this account may send again because nobody knows what became of them; 0 until the end."""
        row, _ = await self._deliveries.load(delivery_id)
        if DeliveryState(row.state) is not DeliveryState.DONE or not row.unknown:
            return 0
        return await self._rows.count_unknown(row.id, self._deliveries.audience.visible_recipients(Action.SEND))

    async def resend_unknown(self, actor: Actor, delivery_id: int, order: Resend) -> DeliveryOutput:
        """Send again, in an ended delivery, what may or may not have left: some people may get it twice.

        Raises NotFound, WrongState (not ended, or nothing is unknown), ContentChanged, FilesDeleted, InvalidInput (a
        wrong number, a sender that is gone).
        """
        row, _ = await self._deliveries.load(delivery_id, lock=True)
        count = await self.unknown(delivery_id)
        if not count:
            raise WrongState
        self._deliveries.require_content(row)
        if not all(one.kept for one in parse(row.attachments)):
            raise FilesDeleted
        if order.typed_count != count:
            raise InvalidInput([field_error(("typed_count",), "typed_count")])
        if not await self._deliveries.senders.is_allowed(row.from_address):
            raise InvalidInput([field_error(("from_address",), "sender_not_allowed")])
        now = self._clock()
        await self._deliveries.move(row, DeliveryState.SENDING, finished_at=None)
        queued = await self._rows.queue_unknown(row.id, self._deliveries.audience.visible_recipients(Action.SEND), now)
        await self._rows.change(row.id, {"unknown": Delivery.unknown - queued})
        return await self._deliveries.step(actor, row.id, "resent_unknown", recipients=queued)

    async def recipients(
        self, delivery_id: int, *, state: RecipientState | None = None, q: str = "", after: int = 0,
        size: int = RECIPIENTS, action: Action = Action.SEE,
    ) -> RecipientPage:  # fmt: skip
        """One page of what became of each mail, as far as the account may see the people. Raises NotFound."""
        await self._deliveries.load(delivery_id)
        rows = await self._rows.recipients(
            delivery_id, state=state.value if state else "", email=email_key(q.replace("\0", ""))[:320], after=after,
            size=size + 1, visible=self._deliveries.audience.visible_recipients(action),
        )  # fmt: skip
        items = [_recipient(row) for row in rows[:size]]
        return RecipientPage(items=items, next=items[-1].id if len(rows) > size else None)

    def _moment(self, order: Release, now: datetime) -> datetime | None:
        if order.when is When.NOW:
            return None
        if order.when is When.BUSINESS_DAY:
            return next_business_morning(now)
        wanted = order.at
        if wanted is None:
            raise InvalidInput([field_error(("at",), "required")])
        moment = wanted if wanted.tzinfo is not None else wanted.replace(tzinfo=JST)
        if moment <= now or moment > now + _FARTHEST:
            raise InvalidInput([field_error(("at",), "moment_range")])
        return moment


def _recipient(row: DeliveryRecipient) -> RecipientOutput:
    return RecipientOutput(
        id=row.id, email=row.email, state=RecipientState(row.state), attempts=row.attempts, reply=row.reply,
        updated_at=row.updated_at.astimezone(JST),
    )  # fmt: skip


def csv_row(recipient: RecipientOutput) -> Sequence[str]:
    """A line of the export."""
    return (
        recipient.email, recipient.state.value, str(recipient.attempts), recipient.updated_at.isoformat(),
        recipient.reply,
    )  # fmt: skip
