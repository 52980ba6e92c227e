"""The first page after log-in."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from elink_app.dashboard.deps import BoardDep
from elink_app.notices.deps import NoticesDep
from elink_app.notices.routes import TYPES
from elink_app.web import pages
from elink_app.web.deps import PrincipalDep

router = APIRouter(include_in_schema=False)


@router.get("/")
async def dashboard(
    request: Request, principal: PrincipalDep, board: BoardDep, notices: NoticesDep, notice: str = ""
) -> Response:
    """Notices to be seen, limits used, deliveries and the newest addresses, as far as the account may see them."""
    return pages.render(
        request,
        "dashboard.html",
        principal=principal,
        board=board,
        notice_name=notice,
        unseen=await notices.open(),
        types=TYPES,
    )
