"""What of the deliveries stands on the first page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.permissions import Permission, Principal
from elink_app.dashboard.repository import DashboardRepository
from elink_app.deliveries.models import Delivery

_MOST = 10
_PERIOD = timedelta(days=30)
# Above these shares of failed mails large receivers begin to distrust a sender, and then to refuse.
_DOUBTFUL, _BAD = 2.0, 5.0
_SEES = (Permission.DELIVERIES_DRAFT, Permission.DELIVERIES_APPROVE, Permission.DELIVERIES_SEND)


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
    def verdict(self) -> str:
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


async def sending(db: AsyncSession, principal: Principal, now: datetime) -> Sending | None:
    """The deliveries' part of the first page; None for who may not see deliveries."""
    if not any(principal.may(permission) for permission in _SEES):
        return None
    rows = DashboardRepository(db)
    accepted, refused, bounced = await rows.results_since(now - _PERIOD)
    return Sending(await rows.under_way(_MOST), Health(accepted, refused + bounced))
