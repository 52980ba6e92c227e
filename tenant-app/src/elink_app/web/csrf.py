"""Proof that a form or call came from a page of this site: a token derived from a secret in the browser's cookie."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Scope

from elink_app.errors import CsrfRefused
from elink_app.web import cookies
from elink_app.web.forms import read_form

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
FIELD = "csrf_token"
HEADER = "X-CSRF-Token"
# Forms with a file that is too large for memory, or may be: their reader (`web.uploads`) checks the token.
_UPLOADS = re.compile(r"(/imports|/deliveries/[0-9]{1,19}/attachments)\Z")
_SECRET_LENGTH = 43
# Mail programs press this button (RFC 8058): they have no session and no page of ours. The token in the path is the
# proof, and whoever knows it may press it.
_OPEN = re.compile(r"/unsubscribe/[0-9a-f]{50}\Z")


def is_open(path: str) -> bool:
    """True for the one address that takes unsafe requests from anywhere."""
    return _OPEN.match(path) is not None


def new_form_secret() -> str:
    """A secret for a browser that has no session yet."""
    return secrets.token_urlsafe(32)


def csrf_token(secret: str) -> str:
    """The token that goes into pages; the secret cannot be told from it."""
    digest = hmac.new(secret.encode(), b"elink csrf", hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def usable_secrets(request: Request) -> Sequence[str]:
    """The cookie secrets that a token may be derived from, the session's first."""
    found = (request.cookies.get(cookies.SESSION), request.cookies.get(cookies.FORM))
    return [secret for secret in found if secret and len(secret) == _SECRET_LENGTH]


def bearer_token(scope: Scope) -> str | None:
    """The API token of a call that can be no page's doing: under /api/, with an Authorization header, which no form
    can send, and without any cookie of ours. With a cookie a call keeps the rules of browsers."""
    headers = Headers(scope=scope)
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not scope["path"].startswith("/api/") or "__Host-" in headers.get("cookie", ""):
        return None
    return token.strip()


def check(request: Request, given: str | None) -> None:
    """Raises CsrfRefused unless `given` was derived from a secret in this browser's cookies."""
    if given is None:
        raise CsrfRefused
    matches = [hmac.compare_digest(csrf_token(secret).encode(), given.encode()) for secret in usable_secrets(request)]
    if not any(matches):
        raise CsrfRefused


async def guard(request: Request) -> None:
    """Dependency of every route: an unsafe request without a right token is refused."""
    if request.method in SAFE_METHODS or is_open(request.url.path) or bearer_token(request.scope) is not None:
        return
    given = request.headers.get(HEADER)
    if given is None and not request.url.path.startswith("/api/"):
        if is_upload(request):
            return
        value = (await read_form(request)).get(FIELD)
        given = value if isinstance(value, str) else None
    check(request, given)


def is_upload(request: Request) -> bool:
    """True for a form with a file: its reader (`web.uploads`) checks the token, which comes before the file."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return _UPLOADS.match(request.url.path) is not None and kind == "multipart/form-data"
