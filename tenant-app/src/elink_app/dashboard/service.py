"""What stands on the first page: how much of the plan is used, and how the deliveries go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.permissions import Permission, Principal
from elink_app.addresses.schemas import AddressOutput
from elink_app.addresses.service import AddressBook
from elink_app.addresses.visibility import id_reached, restricted
from elink_app.dashboard.repository import DashboardRepository
from elink_app.dashboard.schemas import Verdict
from elink_app.deliveries.models import DeliveryRecipient
from elink_app.deliveries.repository import DeliveryRepository
from elink_app.deliveries.states import PENDING, RecipientState
from elink_app.registry.tenant import Limits

_MOST = 10
_RECENT = 8
_PERIOD = timedelta(days=30)
# Whoever may not see all recipients has them counted at each look, 100,000 in about 0.1 s of PostgreSQL: that many tell
# how it goes as well as a million.
_MOST_COUNTED = 100_000
# Above these shares of failed mails large receivers begin to distrust a sender, and then to refuse.
_DOUBTFUL, _BAD = 2.0, 5.0
# Who looks after the plan.
_PLAN = Permission.SETTINGS_MANAGE
_SEES = (Permission.DELIVERIES_DRAFT, Permission.DELIVERIES_APPROVE, Permission.DELIVERIES_SEND)


# From this share of a limit on it is time to do something.
_NEAR = 0.8


@dataclass(frozen=True)
class LimitUsed:
    """How much is used of what the plan holds; `limit` None: it holds any amount."""

    used: int
    limit: int | None

    @property
    def percent(self) -> int | None:
        """Whole percent, rounded down: 100 means full."""
        if self.limit is None:
            return None
        return 100 * self.used // self.limit if self.limit else 100

    @property
    def verdict(self) -> Verdict:
        """`near` from 80 %, `full` from 100 %."""
        if self.limit is None:
            return "unlimited"
        return "full" if self.used >= self.limit else "near" if self.used >= self.limit * _NEAR else "good"


@dataclass(frozen=True)
class Health:
    """Mails of the last 30 days that came to an end: counts, not shares."""

    accepted: int
    failed: int

    @property
    def percent(self) -> float | None:
        """The share of mails that failed; None without mails. A mail that bounces is no longer an accepted one."""
        total = self.accepted + self.failed
        return round(100 * self.failed / total, 1) if total else None

    @property
    def verdict(self) -> Literal["none", "good", "doubtful", "bad"]:
        """`none`, `good`, `doubtful` or `bad`."""
        share = self.percent
        if share is None:
            return "none"
        return "bad" if share > _BAD else "doubtful" if share > _DOUBTFUL else "good"


@dataclass(frozen=True)
class UnderWay:
    """A delivery that was ordered and is not over, with the counts of the recipients whom the account may see."""

    id: int
    name: str
    state: str
    total: int
    ended: int


@dataclass(frozen=True)
class Sending:
    """Deliveries under way, and how the last ones went."""

    under_way: Sequence[UnderWay]
    health: Health
    mails: LimitUsed


async def sending(db: AsyncSession, principal: Principal, now: datetime, mails_per_hour: int | None) -> Sending | None:
    """The deliveries' part of the first page; None for who may not see deliveries."""
    if not any(principal.may(permission) for permission in _SEES):
        return None
    rows = DashboardRepository(db)
    mails = LimitUsed(await rows.mails_last_hour(now), mails_per_hour)
    under_way = await rows.under_way(_MOST)
    if not await db.scalar(select(restricted(principal))):
        accepted, refused, bounced = await rows.results_since(now - _PERIOD)
        shown = [UnderWay(row.id, row.name, row.state, row.total, row.ended) for row in under_way]
        return Sending(shown, Health(accepted, refused + bounced), mails)
    # The kept counts hold those whom labels hide from the account.
    visible = id_reached(principal, DeliveryRecipient.address_id)
    ids = [row.id for row in under_way]
    recipients = DeliveryRepository(db)
    seen = await recipients.counts(ids, visible)
    ended = {row.id: sum(n for state, n in seen.get(row.id, {}).items() if state not in PENDING) for row in under_way}
    shown = [
        UnderWay(row.id, row.name, row.state, sum(seen.get(row.id, {}).values()), ended[row.id]) for row in under_way
    ]
    results = Counter[str]()
    newest = await rows.begun_since(now - _PERIOD, _MOST_COUNTED)
    for counts in (await recipients.counts(newest, visible)).values():
        results.update(counts)
    failed = results[RecipientState.REFUSED] + results[RecipientState.BOUNCED]
    return Sending(shown, Health(results[RecipientState.ACCEPTED], failed), mails)


@dataclass(frozen=True)
class Board:
    """The first page as one account sees it; None is what it may not see."""

    addresses: LimitUsed | None
    storage: LimitUsed | None
    recent: Sequence[AddressOutput]
    deleted: int
    sending: Sending | None


async def board(
    db: AsyncSession,
    principal: Principal,
    book: AddressBook,
    limits: Limits,
    measure: Callable[[Callable[[], Awaitable[int]]], Awaitable[int]],
    now: datetime,
) -> Board:
    """Gather it. `measure` gives the bytes of the tenant; it calls what it is given for those of the database."""
    may_view = principal.may(Permission.ADDRESSES_VIEW)
    # Bytes of what an account may not see would tell of it.
    bytes_used = await measure(DashboardRepository(db).bytes_of_database) if principal.may(_PLAN) else None
    return Board(
        addresses=LimitUsed(await book.used(), limits.addresses) if may_view else None,
        storage=LimitUsed(bytes_used, limits.storage_bytes) if bytes_used is not None else None,
        recent=await book.recent(_RECENT) if may_view else [],
        deleted=await book.count_recently_deleted() if may_view else 0,
        sending=await sending(db, principal, now, limits.mails_per_hour),
    )
