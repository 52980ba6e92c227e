"""`/api/v1/notices`."""

from __future__ import annotations

from fastapi import APIRouter

from elink_app.notices.deps import NoticeId, NoticesDep
from elink_app.notices.schemas import NoticeOutput, Receipt
from elink_app.notices.service import to_output
from elink_app.web.deps import MayViewAudit, PrincipalDep
from elink_app.web.openapi import problems

router = APIRouter(prefix="/api/v1/notices", tags=["notices"], responses=problems(401, 403, 503))


@router.get("", responses=problems(422))
async def list_notices(_principal: PrincipalDep, notices: NoticesDep, unseen: bool = False) -> list[NoticeOutput]:
    """Notices of the operator, newest first; with `unseen` those that the caller has still to see."""
    return [to_output(one) for one in await notices.all() if one.is_open or not unseen]


@router.get("/{notice_id}", responses=problems(404, 422))
async def get_notice(_principal: PrincipalDep, notices: NoticesDep, notice_id: NoticeId) -> NoticeOutput:
    """One notice with the caller's receipt."""
    return to_output(await notices.get(notice_id))


@router.post("/{notice_id}/receipt", responses=problems(404, 422))
async def sign_notice(_principal: PrincipalDep, notices: NoticesDep, notice_id: NoticeId) -> NoticeOutput:
    """Give the caller's receipt: read, or for an incident acknowledged. A second one changes nothing."""
    return to_output(await notices.sign(notice_id))


@router.get("/{notice_id}/receipts", responses=problems(404, 422))
async def list_receipts(_principal: MayViewAudit, notices: NoticesDep, notice_id: NoticeId) -> list[Receipt]:
    """Who has seen a notice, first come first, 1000 at most."""
    return await notices.receipts(notice_id)
