"""The lives of a delivery and of one recipient in it: which step may follow which, and when the worker may send."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum

from elink_app.clock import JST


class Category(StrEnum):
    """What the law asks: an advertisement (広告) needs consent and a footer, a notice (事務連絡) does not."""

    ADVERT = "advert"
    NOTICE = "notice"


class DeliveryState(StrEnum):
    """`holding` is the time in which a pressed "send" can still be taken back."""

    DRAFT = "draft"
    AWAITING_APPROVAL = "awaiting_approval"
    APPROVED = "approved"
    SCHEDULED = "scheduled"
    HOLDING = "holding"
    SENDING = "sending"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"


class RecipientState(StrEnum):
    """`accepted`: the relay took the mail, not that it arrived; `unknown` (結果不明): its answer is lost."""

    QUEUED = "queued"
    # Of versions before 0.1 only: in hand, its mail surely not begun. Queued again when its lease ends.
    CLAIMED = "claimed"
    # In a process's hands, its mail begun or not: only the journal knows.
    SENDING = "sending"
    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    REFUSED = "refused"
    BOUNCED = "bounced"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"


# A delivery that was due this long ago and never began comes from a backup or a long outage: people decide, not we.
TOO_LATE = timedelta(hours=2)

# Why a delivery stands still that came back with a restored database (migration 0010): some of its mails may have left
# after the backup was made. A person who knows that may resume it.
RESTORED = "restored"

# Its content may still be changed.
OPEN = frozenset({DeliveryState.DRAFT, DeliveryState.AWAITING_APPROVAL, DeliveryState.APPROVED})
# Nothing leaves any more, unless a person sends again what is unknown.
ENDED = frozenset({DeliveryState.DONE, DeliveryState.CANCELLED})

# `next_at` is set in these states, and only in these.
PENDING = frozenset({RecipientState.QUEUED, RecipientState.CLAIMED, RecipientState.SENDING, RecipientState.DEFERRED})

_NEXT: dict[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.DRAFT: frozenset({DeliveryState.AWAITING_APPROVAL, DeliveryState.APPROVED, DeliveryState.CANCELLED}),
    DeliveryState.AWAITING_APPROVAL: frozenset({DeliveryState.APPROVED, DeliveryState.DRAFT, DeliveryState.CANCELLED}),
    DeliveryState.APPROVED: frozenset(
        {DeliveryState.SCHEDULED, DeliveryState.HOLDING, DeliveryState.DRAFT, DeliveryState.CANCELLED}
    ),
    DeliveryState.SCHEDULED: frozenset(
        {DeliveryState.SENDING, DeliveryState.APPROVED, DeliveryState.PAUSED, DeliveryState.CANCELLED}
    ),
    DeliveryState.HOLDING: frozenset(
        {
            DeliveryState.SENDING,
            DeliveryState.SCHEDULED,
            DeliveryState.APPROVED,
            DeliveryState.PAUSED,
            DeliveryState.CANCELLED,
        }
    ),
    DeliveryState.SENDING: frozenset({DeliveryState.PAUSED, DeliveryState.DONE, DeliveryState.CANCELLED}),
    # To `scheduled`: it stood still before its moment came.
    DeliveryState.PAUSED: frozenset({DeliveryState.SENDING, DeliveryState.SCHEDULED, DeliveryState.CANCELLED}),
    # Only to send again what is unknown, when a person asks for it.
    DeliveryState.DONE: frozenset({DeliveryState.SENDING}),
    DeliveryState.CANCELLED: frozenset(),
}


def given_up(state: DeliveryState, started_at: datetime | None) -> bool:
    """True for a delivery that ended before anything was sent: it keeps no files."""
    return state is DeliveryState.CANCELLED and started_at is None


def may_follow(before: DeliveryState, after: DeliveryState) -> bool:
    """True when a delivery in state `before` may go to `after`."""
    return after in _NEXT[before]


def states_before(after: DeliveryState) -> frozenset[DeliveryState]:
    """Every state that `after` may follow: the condition of the UPDATE that makes the step."""
    return frozenset(before for before, following in _NEXT.items() if after in following)


def is_quiet(now: datetime, quiet_from: time | None, quiet_until: time | None) -> bool:
    """True within the quiet hours (Japan Standard Time, end excluded, also over midnight); never when one is None."""
    if quiet_from is None or quiet_until is None or quiet_from == quiet_until:
        return False
    clock = now.astimezone(JST).time()
    if quiet_from < quiet_until:
        return quiet_from <= clock < quiet_until
    return clock >= quiet_from or clock < quiet_until


def after_quiet(moment: datetime, quiet_from: time | None, quiet_until: time | None) -> datetime:
    """The first moment from `moment` on that is not within the quiet hours."""
    if quiet_until is None or not is_quiet(moment, quiet_from, quiet_until):
        return moment
    local = moment.astimezone(JST)
    end = datetime.combine(local.date(), quiet_until, tzinfo=JST)
    return (end if end > local else end + timedelta(days=1)).astimezone(UTC)


def overdue(due: datetime, now: datetime, quiet_from: time | None, quiet_until: time | None) -> timedelta:
    """How long the delivery could have been sent but was not: the quiet hours that came first do not count."""
    waited = now - due
    if quiet_from is None or quiet_until is None or quiet_from == quiet_until:
        return waited
    local = due.astimezone(JST)
    begin = datetime.combine(local.date(), quiet_from, tzinfo=JST)
    if begin < local:
        begin += timedelta(days=1)
    return waited - max(min(now, after_quiet(begin, quiet_from, quiet_until)) - begin, timedelta(0))


@dataclass(frozen=True)
class Waiting:
    """What the clock asks of a delivery that was released but has not begun."""

    state: DeliveryState
    scheduled_at: datetime | None = None
    hold_until: datetime | None = None
    quiet_from: time | None = None
    quiet_until: time | None = None

    def step(self, now: datetime) -> DeliveryState | None:
        """The state that the clock brings it to, or None when it has to wait on.

        A delivery that could have been sent for `TOO_LATE` goes to `paused`, so that a restored backup sends nothing by
        itself.
        """
        if self.state not in (DeliveryState.HOLDING, DeliveryState.SCHEDULED):
            return None
        if self.state is DeliveryState.HOLDING and self.hold_until is not None and self.hold_until > now:
            return None
        if self.scheduled_at is not None and self.scheduled_at > now:
            return DeliveryState.SCHEDULED if self.state is DeliveryState.HOLDING else None
        wanted = max((moment for moment in (self.scheduled_at, self._held()) if moment is not None), default=now)
        due = after_quiet(wanted, self.quiet_from, self.quiet_until)
        if due > now or is_quiet(now, self.quiet_from, self.quiet_until):
            return None
        late = overdue(due, now, self.quiet_from, self.quiet_until)
        return DeliveryState.PAUSED if late > TOO_LATE else DeliveryState.SENDING

    def _held(self) -> datetime | None:
        return self.hold_until if self.state is DeliveryState.HOLDING else None
