"""The pages of notices."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from elink_app.accounts.permissions import Permission
from elink_app.messages import N_
from elink_app.notices.deps import NoticeId, NoticesDep
from elink_app.web import pages
from elink_app.web.deps import PrincipalDep
from elink_app.web.forms import field, read_form

router = APIRouter(include_in_schema=False)

TYPES = {
    "Change": N_("Change of the service"),
    "Maintenance": N_("Maintenance"),
    "Incident": N_("Incident"),
    "Vulnerability": N_("Vulnerability"),
    "Relocation": N_("Move of data"),
}


@router.get("/notices")
async def list_notices(request: Request, principal: PrincipalDep, notices: NoticesDep) -> Response:
    """All notices, past ones too."""
    return pages.render(request, "notices.html", principal=principal, rows=await notices.all(), types=TYPES)


@router.get("/notices/{notice_id}")
async def one_notice(request: Request, principal: PrincipalDep, notices: NoticesDep, notice_id: NoticeId) -> Response:
    """One notice, and for who may read the audit log, who has seen it."""
    seen = await notices.get(notice_id)
    receipts = await notices.receipts(notice_id) if principal.may(Permission.AUDIT_VIEW) else None
    return pages.render(request, "notice.html", principal=principal, seen=seen, receipts=receipts, types=TYPES)


@router.post("/notices/{notice_id}")
async def sign(request: Request, _principal: PrincipalDep, notices: NoticesDep, notice_id: NoticeId) -> Response:
    """Read, or acknowledged."""
    form = await read_form(request)
    await notices.sign(notice_id)
    return pages.redirect("/" if field(form, "from") == "dashboard" else f"/notices/{notice_id}")
