"""The first page after log-in."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from elink_app.accounts.permissions import Permission
from elink_app.addresses.deps import BookDep
from elink_app.dashboard.service import sending
from elink_app.notices.deps import NoticesDep
from elink_app.notices.routes import TYPES
from elink_app.web import pages
from elink_app.web.deps import DbDep, PrincipalDep, StateDep, TenantDep

router = APIRouter(include_in_schema=False)
_RECENT = 8


@router.get("/")
async def dashboard(
    request: Request,
    principal: PrincipalDep,
    book: BookDep,
    notices: NoticesDep,
    db: DbDep,
    state: StateDep,
    tenant: TenantDep,
    notice: str = "",
) -> Response:
    """Notices to be seen, counts, limits used and the newest addresses, as far as the account may see them."""
    may_view = principal.may(Permission.ADDRESSES_VIEW)
    return pages.render(
        request,
        "dashboard.html",
        principal=principal,
        used=await book.used() if may_view else None,
        limit=book.limit,
        recent=await book.recent(_RECENT) if may_view else [],
        deleted=await book.count_recently_deleted() if may_view else 0,
        notice_name=notice,
        unseen=await notices.open(),
        types=TYPES,
        sending=await sending(db, principal, state.clock()),
        mails_per_hour=tenant.limits.mails_per_hour,
    )
