"""The cookies. `__Host-` binds each to one host, HTTPS and the whole path: no other tenant can read or plant it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

SESSION = "__Host-elink-session"
FORM = "__Host-elink-form"
LANGUAGE = "__Host-elink-language"
_YEAR = 365 * 24 * 3600


def set_session(response: Response, secret: str, max_age: int) -> None:
    """Hand the secret of a session to the browser; the secret of the forms before log-in has done its work."""
    response.set_cookie(SESSION, secret, max_age=max_age, path="/", secure=True, httponly=True, samesite="lax")
    clear(response, FORM)


def set_form(response: Response, secret: str) -> None:
    """Hand out the secret that ties a form to a browser without session. Gone when the browser closes."""
    response.set_cookie(FORM, secret, path="/", secure=True, httponly=True, samesite="lax")


def set_language(response: Response, language: str) -> None:
    """Remember the choice of language."""
    response.set_cookie(LANGUAGE, language, max_age=_YEAR, path="/", secure=True, httponly=True, samesite="lax")


def clear(response: Response, name: str) -> None:
    """Make the browser forget a cookie."""
    response.delete_cookie(name, path="/", secure=True, httponly=True, samesite="lax")


def session_secret(request: Request) -> str | None:
    """The secret that came with the request."""
    return request.cookies.get(SESSION)
