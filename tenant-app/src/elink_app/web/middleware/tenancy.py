"""Chooses the tenant, once, by the Host header. A host of nobody gets one and the same answer whatever it asks."""

from __future__ import annotations

from http import HTTPStatus

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from elink_app.errors import AppError
from elink_app.messages import N_, Message
from elink_app.registry.directory import TenantDirectory
from elink_app.registry.tenant import Tenant, TenantState
from elink_app.telemetry.metrics import Metrics
from elink_app.web import pages
from elink_app.web.problems import MEDIA_TYPE, problem_body, wants_json
from elink_app.web.state import TENANT, request_id_of, translator_of

_PAGE = (
    '<!doctype html><html lang="ja"><head><meta charset="utf-8"><title>404</title></head>'
    '<body><h1>404</h1><p>ページが見つかりません。</p><p lang="en">Page not found.</p></body></html>'
).encode()
_SUSPENDED_RETRY = "3600"
_MAINTENANCE_RETRY = "300"
# What the page of a closed tenant needs: its style, and the choice of language. Neither touches the tenant's data.
_ALWAYS_OPEN = ("/static/", "/language")


class Suspended(AppError):
    """The tenant is paused; its data is kept."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "tenant-suspended"
    title = N_("This service is suspended")


class Maintenance(AppError):
    """The operator is at work on the tenant's data, for a restore; nobody has to do anything."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "tenant-maintenance"
    title = N_("Your data is being restored")


class Cancelled(AppError):
    """The contract has ended."""

    status = HTTPStatus.GONE
    code = "tenant-cancelled"
    title = N_("This service has ended")


def _unknown_host() -> Response:
    return Response(_PAGE, HTTPStatus.NOT_FOUND, media_type="text/html; charset=utf-8")


def state_error(tenant: Tenant) -> AppError | None:
    """What is answered instead of pages while the tenant is not Active."""
    match tenant.state:
        case TenantState.ACTIVE:
            return None
        case TenantState.SUSPENDED:
            detail = N_("Use is suspended at present. Your data is kept. Please contact your provider.")
            return Suspended(Message(detail), headers={"Retry-After": _SUSPENDED_RETRY})
        case TenantState.MAINTENANCE:
            detail = N_("The service opens again by itself. Please try again in a few minutes.")
            return Maintenance(Message(detail), headers={"Retry-After": _MAINTENANCE_RETRY})
        case TenantState.CANCELLED:
            return Cancelled(Message(N_("The contract for this service has ended. Please contact your provider.")))


class Tenancy:
    """Everything inside may rely on `scope[TENANT]`, an Active tenant (any tenant for `_ALWAYS_OPEN`)."""

    def __init__(self, app: ASGIApp, directory: TenantDirectory, metrics: Metrics) -> None:
        self._app = app
        self._directory = directory
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        tenant = self._directory.by_host_header(hosts[0].decode("latin-1")) if len(hosts) == 1 else None
        if tenant is None:
            self._metrics.unknown_hosts.inc()
            await _unknown_host()(scope, receive, send)
            return
        scope[TENANT] = tenant
        structlog.contextvars.bind_contextvars(tenant=tenant.name)
        error = state_error(tenant)
        if error is not None and not scope["path"].startswith(_ALWAYS_OPEN):
            await self._closed(Request(scope), tenant, error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _closed(self, request: Request, tenant: Tenant, error: AppError) -> Response:
        # During a restore it would be a word of the staff's.
        reason = "" if tenant.state is TenantState.MAINTENANCE else tenant.state_reason
        if wants_json(request):
            body = problem_body(error, translator_of(request), request_id_of(request.scope))
            body["reason"] = reason
            return JSONResponse(body, error.status, headers=error.headers, media_type=MEDIA_TYPE)
        return pages.render(
            request,
            "closed.html",
            status=error.status,
            headers=error.headers,
            error=error,
            reason=reason,
        )
