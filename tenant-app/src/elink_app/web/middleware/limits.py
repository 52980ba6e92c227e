"""Bounds on what a request may weigh, checked before and while it is read."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from elink_app.web.problems import from_http, respond

MAX_HEADER_BYTES = 32_768
MAX_TARGET_BYTES = 8_192


class Limits:
    """413 for a body (declared or real) over the bytes that `limit_of` its path, 414 and 431 for a long target or
    headers."""

    def __init__(self, app: ASGIApp, limit_of: Callable[[str], int]) -> None:
        self._app = app
        self._limit_of = limit_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit_of(scope["path"])
        refused = self._refused(scope, limit)
        if refused is not None:
            error = from_http(HTTPException(refused, headers={"Connection": "close"}))
            await respond(Request(scope), error)(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return message

        await self._app(scope, counted, send)

    @staticmethod
    def _refused(scope: Scope, limit: int) -> int | None:
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_TARGET_BYTES:
            return HTTPStatus.REQUEST_URI_TOO_LONG
        size = 0
        for name, value in scope["headers"]:
            size += len(name) + len(value)
            if name == b"content-length" and (not value.isdigit() or int(value[:20]) > limit):
                return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if size > MAX_HEADER_BYTES else None
