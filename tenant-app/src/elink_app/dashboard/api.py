"""`/api/v1/dashboard`."""

from __future__ import annotations

from fastapi import APIRouter

from elink_app.clock import JST
from elink_app.dashboard.deps import BoardDep
from elink_app.dashboard.schemas import (
    DashboardOutput,
    DeliveryUnderWay,
    HealthOutput,
    LimitOutput,
    RecentAddress,
)
from elink_app.dashboard.service import Health, LimitUsed
from elink_app.notices.deps import NoticesDep
from elink_app.web.deps import PrincipalDep
from elink_app.web.openapi import problems

router = APIRouter(prefix="/api/v1/dashboard", tags=["dashboard"], responses=problems(401, 403, 503))


@router.get("")
async def get_dashboard(_principal: PrincipalDep, board: BoardDep, notices: NoticesDep) -> DashboardOutput:
    """The first page: limits used, deliveries under way and their health, addresses saved last."""
    unseen = await notices.open()
    sees = board.addresses is not None
    return DashboardOutput(
        notices=len(unseen) if unseen is not None else None,
        addresses=_limit(board.addresses),
        storage_bytes=_limit(board.storage),
        mails_last_hour=_limit(board.sending.mails) if board.sending else None,
        recently_deleted=board.deleted if sees else None,
        recent=[
            RecentAddress(id=row.id, name=row.name, company=row.company, updated_at=row.updated_at.astimezone(JST))
            for row in board.recent
        ]
        if sees
        else None,
        under_way=[
            DeliveryUnderWay(id=row.id, name=row.name, state=row.state, total=row.total, ended=row.ended)
            for row in board.sending.under_way
        ]
        if board.sending
        else None,
        health=_health(board.sending.health) if board.sending else None,
    )


def _limit(found: LimitUsed | None) -> LimitOutput | None:
    return LimitOutput(used=found.used, limit=found.limit, verdict=found.verdict) if found is not None else None


def _health(found: Health) -> HealthOutput:
    return HealthOutput(
        accepted=found.accepted, failed=found.failed, percent=found.percent, verdict=found.verdict
    )  # fmt: skip
