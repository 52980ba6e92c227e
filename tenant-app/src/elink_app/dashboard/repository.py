"""All SQL of the first page's figures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.deliveries.models import Delivery
from elink_app.deliveries.states import DeliveryState

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
