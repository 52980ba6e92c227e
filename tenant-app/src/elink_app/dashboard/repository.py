"""All SQL of the first page's figures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.deliveries.models import Delivery, MailAllowance
from elink_app.deliveries.states import DeliveryState

_HOUR = timedelta(hours=1)
_UNDER_WAY = (DeliveryState.SCHEDULED, DeliveryState.HOLDING, DeliveryState.SENDING, DeliveryState.PAUSED)


class DashboardRepository:
    """Reads within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def under_way(self, limit: int) -> Sequence[Delivery]:
        """Deliveries that were ordered and are not over, newest first."""
        statement = select(Delivery).where(Delivery.state.in_([state.value for state in _UNDER_WAY]))
        return (await self._session.scalars(statement.order_by(Delivery.id.desc()).limit(limit))).all()

    async def results_since(self, moment: datetime) -> tuple[int, int, int]:
        """Mails accepted, refused and bounced in deliveries that began since then."""
        sums = [
            func.coalesce(func.sum(column), 0) for column in (Delivery.accepted, Delivery.refused, Delivery.bounced)
        ]
        row = (await self._session.execute(select(*sums).where(Delivery.started_at >= moment))).one()
        return int(row[0]), int(row[1]), int(row[2])

    async def begun_since(self, moment: datetime, most: int) -> Sequence[int]:
        """Ids of the newest deliveries that began since then, as long as they have `most` mails together; one at
        least."""
        mails = func.sum(Delivery.total).over(order_by=(Delivery.started_at.desc(), Delivery.id.desc()))
        begun = (
            select(Delivery.id, Delivery.total, mails.label("mails")).where(Delivery.started_at >= moment).subquery()
        )
        few = or_(begun.c.mails <= most, begun.c.mails == begun.c.total)
        return (await self._session.scalars(select(begun.c.id).where(few))).all()

    async def mails_last_hour(self, now: datetime) -> int:
        """About how many mails left in the 60 minutes before `now`, as far as the plan's limit had them counted.

        Of the clock hour before this one the share counts that lies within these minutes.
        """
        row = await self._session.get(MailAllowance, 1)
        if row is None or row.hour is None:
            return 0
        hour = now.replace(minute=0, second=0, microsecond=0)
        this, last = {hour: (row.this_hour, row.last_hour), hour - _HOUR: (0, row.this_hour)}.get(row.hour, (0, 0))
        return max(0, this + round(last * (1 - (now - hour) / _HOUR)))

    async def bytes_of_database(self) -> int:
        """The size of the tenant's database."""
        return int(await self._session.scalar(select(func.pg_database_size(func.current_database()))) or 0)
