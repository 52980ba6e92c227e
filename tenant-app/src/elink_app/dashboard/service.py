"""What stands on the first page: how much of the plan is used, and how the deliveries go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.permissions import Permission, Principal
from elink_app.addresses.schemas import AddressOutput
from elink_app.addresses.service import AddressBook
from elink_app.dashboard.repository import DashboardRepository
from elink_app.dashboard.schemas import Verdict
from elink_app.deliveries.models import Delivery
from elink_app.registry.tenant import Limits

_MOST = 10
_RECENT = 8
_PERIOD = timedelta(days=30)
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
class Sending:
    """Deliveries under way, and how the last ones went."""

    under_way: Sequence[Delivery]
    health: Health
    mails: LimitUsed


async def sending(db: AsyncSession, principal: Principal, now: datetime, mails_per_hour: int | None) -> Sending | None:
    """The deliveries' part of the first page; None for who may not see deliveries."""
    if not any(principal.may(permission) for permission in _SEES):
        return None
    rows = DashboardRepository(db)
    accepted, refused, bounced = await rows.results_since(now - _PERIOD)
    health = Health(accepted, refused + bounced)
    return Sending(await rows.under_way(_MOST), health, LimitUsed(await rows.mails_last_hour(now), mails_per_hour))


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
