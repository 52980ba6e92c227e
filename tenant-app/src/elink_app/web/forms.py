"""Reading of forms: url-encoded ones, and with one file on the pages that upload."""

from __future__ import annotations

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request

# Three rights of a label for each of a hundred roles (roles.service.MAX_ROLES), with some fields beside them.
MAX_FIELDS = 320
# Nowhere else is a multipart body taken apart.
_UPLOADS = frozenset({"/templates/images", "/utilities/suppress"})


async def read_form(request: Request) -> FormData:
    """The fields of the request; 415 for another kind of body. Reading twice gives the same."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    multipart = kind == "multipart/form-data"
    uploads = multipart and request.url.path in _UPLOADS
    # RFC 8058 lets mail programs choose between the two kinds.
    one_click = multipart and request.url.path.startswith("/unsubscribe/")
    if kind != "application/x-www-form-urlencoded" and not uploads and not one_click:
        raise HTTPException(415)
    form = await request.form(max_fields=MAX_FIELDS, max_files=1 if uploads else 0)
    if len(form) > MAX_FIELDS:
        raise HTTPException(413)
    return form


def field(form: FormData, name: str) -> str:
    """One field as text; empty when it is missing."""
    value = form.get(name)
    return value if isinstance(value, str) else ""


def fields(form: FormData, name: str) -> list[str]:
    """All values of a repeated field."""
    return [value for value in form.getlist(name) if isinstance(value, str)]


def safe_next(path: str) -> str:
    """A path on this site to go to after log-in; `/` for anything that could lead away from it."""
    plain = path.isascii() and path.isprintable() and "\\" not in path
    return path if plain and path.startswith("/") and not path.startswith("//") and len(path) < 1000 else "/"
