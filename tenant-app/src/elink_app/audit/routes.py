"""The page of the audit log and its export."""

from __future__ import annotations

from datetime import date
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from elink_app.audit import search
from elink_app.audit.names import ACTIONS
from elink_app.web import pages
from elink_app.web.deps import ActorDep, DbDep, MayViewAudit, StateDep

router = APIRouter(include_in_schema=False)

_Text = Annotated[str, Query(max_length=200)]


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _query(q: _Text = "", actor: _Text = "", action: _Text = "", since: _Text = "", until: _Text = "") -> search.Query:
    """A day that is none counts as not given."""
    q, actor, action = (text.replace("\0", "") for text in (q, actor, action))
    return search.Query(q, actor, action, _day(since), _day(until))


QueryDep = Annotated[search.Query, Depends(_query)]


@router.get("/audit")
async def audit(
    request: Request,
    principal: MayViewAudit,
    db: DbDep,
    query: QueryDep,
    below: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
) -> Response:
    """Search and leaf through the log."""
    wanted = {
        "q": query.text,
        "actor": query.actor,
        "action": query.action,
        "since": query.since.isoformat() if query.since else "",
        "until": query.until.isoformat() if query.until else "",
    }

    def link(path: str, **more: object) -> str:
        chosen = urlencode({name: value for name, value in {**wanted, **more}.items() if value})
        return f"{path}?{chosen}" if chosen else path

    page = await search.page(db, principal, query, below=below)
    return pages.render(
        request,
        "audit.html",
        principal=principal,
        page=page,
        actions=await search.actions(db, complete=page.complete),
        names=ACTIONS,
        wanted=wanted,
        link=link,
        below=below,
        most=search.EXPORT_LINES,
    )


@router.get("/audit.csv")
async def export(principal: MayViewAudit, db: DbDep, actor: ActorDep, state: StateDep, query: QueryDep) -> Response:
    """The matching lines as a file."""
    content = await search.export(db, principal, query, actor, state.clock())
    headers = {"Content-Disposition": 'attachment; filename="audit.csv"'}
    return Response(content, media_type="text/csv; charset=utf-8", headers=headers)
