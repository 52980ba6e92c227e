"""Unsafe requests must say that they come from this very site (Sec-Fetch-Site or Origin). Silence is refused."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from elink_app.errors import CsrfRefused
from elink_app.web.csrf import SAFE_METHODS, bearer_token, is_open
from elink_app.web.problems import respond


def is_same_origin(headers: Headers) -> bool:
    """What the browser says; a page cannot forge these headers."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    if origin is None:
        return False
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("https", "http") and parts.netloc.lower() == headers.get("host", "").strip().lower()


def _may_pass(scope: Scope) -> bool:
    if scope["method"] in SAFE_METHODS or is_open(scope["path"]) or bearer_token(scope) is not None:
        return True
    return is_same_origin(Headers(scope=scope))


class SameOrigin:
    """Stands before every route, so that a route that forgets its own guard is covered all the same."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http" and not _may_pass(scope):
            await respond(Request(scope), CsrfRefused())(scope, receive, send)
            return
        await self._app(scope, receive, send)
