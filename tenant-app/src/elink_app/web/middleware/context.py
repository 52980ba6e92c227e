"""Outermost: state and id of every request, its log line, its metrics, and the last net under every error."""

from __future__ import annotations

import re
import secrets
import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from elink_app.database.errors import is_outage
from elink_app.web.state import REQUEST_ID, STATE, TENANT, WebState

_GIVEN_ID = re.compile(rb"[A-Za-z0-9-]{8,64}\Z")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
UNROUTED = "unrouted"

log = structlog.get_logger("access")


def _request_id(scope: Scope) -> str:
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return given.decode("ascii") if _GIVEN_ID.match(given) else secrets.token_hex(8)


class RequestContext:
    """Logs path and status, never the query string (it may hold a set-up token or a name that is searched for)."""

    def __init__(self, app: ASGIApp, state: WebState) -> None:
        self._app = app
        self._state = state
        self._metrics = state.metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope[STATE] = self._state
        request_id = scope[REQUEST_ID] = _request_id(scope)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started = time.perf_counter()
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
            await send(message)

        with self._metrics.in_flight.track_inprogress():
            try:
                await self._app(scope, receive, watched)
            except Exception as error:
                # The handlers have answered already; here it is logged, and answered when even they failed.
                if is_outage(error):
                    log.warning("database unavailable", exc_info=error)
                else:
                    log.error("unexpected error", exc_info=error)
                if not status:
                    await watched({"type": "http.response.start", "status": 500, "headers": []})
                    await send({"type": "http.response.body", "body": b""})
        self._record(scope, status, time.perf_counter() - started)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None) or UNROUTED
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        tenant = scope.get(TENANT)
        self._metrics.requests.labels(method, route, status).inc()
        self._metrics.latency.labels(method, route).observe(seconds)
        if tenant is not None:
            self._metrics.tenant_requests.labels(tenant.name, f"{status // 100}xx").inc()
        client = scope.get("client")
        log.info(
            "request",
            method=method,
            # A token is a key, and in a counted link it is a person's.
            path=route if "{token}" in route else scope["path"][:200],
            route=route,
            status=status,
            milliseconds=round(seconds * 1000, 1),
            tenant=tenant.name if tenant is not None else None,
            client=client[0] if client else None,
        )
