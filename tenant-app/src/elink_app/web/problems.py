"""Every error as a page, or under /api/ as problem JSON (RFC 9457), in the language of the request."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from elink_app.database.errors import is_outage
from elink_app.errors import ActFirst, AppError, InvalidInput, NotFound, SentBefore, Unauthenticated, Unavailable
from elink_app.messages import N_, Message
from elink_app.validation import field_errors
from elink_app.web import pages
from elink_app.web.forms import safe_next
from elink_app.web.i18n import Translator
from elink_app.web.state import request_id_of, translator_of

TYPE_PREFIX = "https://elink-lc.com/problems/"
MEDIA_TYPE = "application/problem+json"

log = structlog.get_logger("web")


class ProblemField(BaseModel):
    """One refused value."""

    pointer: str = Field(description="JSON pointer into the body, or the name of a parameter")
    code: str
    detail: str


class Problem(BaseModel):
    """An error as RFC 9457 describes it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": TYPE_PREFIX + "not-found",
                    "title": "ページが見つかりません",
                    "status": 404,
                    "detail": "ここには何もありません。削除された可能性があります。",
                    "request_id": "0b7c9d5e1f2a43b8",
                }
            ]
        }
    )

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[ProblemField] = []


_HTTP: Mapping[int, tuple[str, str, str]] = {
    400: ("bad-request", N_("The request could not be read"), N_("Open the page again and repeat what you did.")),
    405: ("method-not-allowed", N_("Not possible here"), N_("This address does not accept such a request.")),
    413: ("body-too-large", N_("That is too much at once"), N_("Shorten the text or divide the file, and try again.")),
    414: ("address-too-long", N_("That is too much at once"), N_("Shorten what you sent and try again.")),
    415: ("unsupported-media-type", N_("This format is not accepted"), N_("Send the data in the documented format.")),
    431: ("headers-too-large", N_("That is too much at once"), N_("Shorten what you sent and try again.")),
}


def from_http(error: HTTPException) -> AppError:
    """The framework's own errors in our form."""
    if error.status_code == HTTPStatus.NOT_FOUND:
        return NotFound()
    code, title, detail = _HTTP.get(error.status_code, _HTTP[400])
    made = AppError(Message(detail), headers=error.headers)
    made.status, made.code, made.title = error.status_code, code, title
    return made


def problem_body(error: AppError, translator: Translator, request_id: str) -> dict[str, Any]:
    """The members of the problem object."""
    body: dict[str, Any] = {
        "type": TYPE_PREFIX + error.code,
        "title": translator.text(error.title),
        "status": error.status,
        "detail": translator.text(error.detail),
        "request_id": request_id,
    }
    if isinstance(error, InvalidInput):
        body["errors"] = [
            {
                "pointer": "/" + "/".join(str(part) for part in wrong.field),
                "code": wrong.code,
                "detail": translator.text(wrong.message),
            }
            for wrong in error.errors
        ]
    return body


def wants_json(request: Request) -> bool:
    """The API speaks JSON, everything else HTML."""
    return request.url.path.startswith("/api/") or request.url.path == "/openapi.json"


def respond(request: Request, error: AppError) -> Response:
    """The answer for an error."""
    if wants_json(request):
        body = problem_body(error, translator_of(request), request_id_of(request.scope))
        return JSONResponse(body, error.status, headers=error.headers, media_type=MEDIA_TYPE)
    if isinstance(error, ActFirst | SentBefore):
        return pages.redirect(error.location)
    if isinstance(error, Unauthenticated) and request.method == "GET":
        asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return pages.redirect(_login_path(asked))
    return pages.render(request, "error.html", status=error.status, headers=error.headers, error=error)


def _login_path(asked: str) -> str:
    wanted = safe_next(asked)
    return "/login" if wanted == "/" else f"/login?next={quote(wanted, safe='/')}"


async def _app_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, AppError)  # noqa: S101 - registered for this type
    return respond(request, error)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type
    return respond(request, from_http(error))


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this type
    if not wants_json(request):
        return respond(request, NotFound())
    return respond(request, InvalidInput(field_errors(error.errors(), skip=1)))


async def _unexpected(request: Request, error: Exception) -> Response:
    if is_outage(error):
        return respond(request, Unavailable())
    return respond(request, AppError())


def install(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(AppError, _app_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(Exception, _unexpected)
