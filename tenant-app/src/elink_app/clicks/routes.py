"""The link in a mail that is counted: no log-in, no session, and no way to any address but those of the mail."""

from __future__ import annotations

from datetime import datetime

import structlog
from fastapi import APIRouter, Request
from starlette.background import BackgroundTask
from starlette.responses import Response

from elink_app.clicks.rules import Visit, is_fetched_ahead
from elink_app.clicks.service import Clicks
from elink_app.database.errors import is_outage
from elink_app.mail.tokens import ClickIds
from elink_app.registry.tenant import Tenant
from elink_app.web.deps import DbDep, StateDep, TenantDep
from elink_app.web.state import WebState

router = APIRouter(include_in_schema=False)

log = structlog.get_logger("clicks")


@router.api_route("/l/{token}", methods=["GET", "HEAD"])
async def follow(request: Request, db: DbDep, state: StateDep, tenant: TenantDep, token: str) -> Response:
    """Lead on to where the link leads; what it counts for is written down behind the answer."""
    target = await Clicks(db, tenant).target(token)
    headers = {"Location": target.location, "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
    if request.method == "HEAD":
        state.metrics.clicks.labels(Visit.HEAD).inc()
        return Response(status_code=302, headers=headers)
    ahead = is_fetched_ahead(request.headers)
    counting = BackgroundTask(_count, state, tenant, target.ids, state.clock(), ahead)
    return Response(status_code=302, headers=headers, background=counting)


async def _count(state: WebState, tenant: Tenant, ids: ClickIds, now: datetime, fetched_ahead: bool) -> None:
    try:
        async with state.databases.transaction(tenant) as db:
            visit = await Clicks(db, tenant).count(ids, now, fetched_ahead=fetched_ahead)
    except Exception as error:
        if not is_outage(error):
            raise
        log.warning("a visit of a link was not counted", why=type(error).__name__)
        visit = Visit.LOST
    state.metrics.clicks.labels(visit).inc()
