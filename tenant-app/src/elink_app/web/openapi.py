"""What the OpenAPI document says beyond what the routes' types say."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from elink_app.web.problems import MEDIA_TYPE, TYPE_PREFIX, Problem

DESCRIPTION = """\
The address book of one elink tenant. Every rule is the same as on the pages.

**Who asks**: an API token (`Authorization: Bearer elk_…`, made under "My account", without cookies), which may a part
of what its owner may; or the session cookie of a log-in. With the cookie, unsafe calls (POST, PUT, DELETE) need two
things more: the header
`X-CSRF-Token` with the token of `GET /api/v1/session`, and an `Origin` (or `Sec-Fetch-Site`) header that names this
site, as browsers send it. The own account's password and factors, the rules for all and the master's place are for
log-ins only: a token gets 403 there.

**Errors** are problem objects (RFC 9457, `application/problem+json`); `type` is stable, `title` and `detail` are for
people, in the language of the request. Every answer bears `X-Request-Id`.

Times are in Japan Standard Time with their offset.
"""

_EXAMPLES = {
    400: ("bad-request", "リクエストを読み取れませんでした", "ページを開き直して、もう一度操作してください。"),
    401: ("unauthenticated", "ログインしてください", "ログインしていないか、セッションが終了しました。"),
    403: ("forbidden", "権限がありません", "このアカウントではこの操作はできません。"),
    404: ("not-found", "ページが見つかりません", "ここには何もありません。"),
    409: ("address-limit-reached", "アドレス数の上限に達しました", "ご契約のアドレス数の上限に達しています。"),
    413: ("body-too-large", "一度に送れる量を超えています", "内容を短くして、もう一度お試しください。"),
    414: ("address-too-long", "一度に送れる量を超えています", "内容を短くして、もう一度お試しください。"),
    415: ("unsupported-media-type", "この形式は受け付けていません", "文書に示された形式で送信してください。"),
    422: ("invalid-input", "入力内容をご確認ください", "印の付いた項目を直して、もう一度送信してください。"),
    429: ("too-many-attempts", "試行回数が多すぎます", "しばらくしてからもう一度お試しください。"),
    431: ("headers-too-large", "一度に送れる量を超えています", "内容を短くして、もう一度お試しください。"),
    503: ("temporarily-unavailable", "一時的にご利用いただけません", "しばらくしてからもう一度お試しください。"),
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route for these errors, each with an example."""
    described: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        code, title, detail = _EXAMPLES[status]
        example = {
            "type": TYPE_PREFIX + code,
            "title": title,
            "status": status,
            "detail": detail,
            "request_id": "0b7c9d5e1f2a43b8",
            "errors": [{"pointer": "/name", "code": "missing", "detail": "必須項目です。"}] if status == 422 else [],
        }
        described[status] = {
            "description": HTTPStatus(status).phrase,
            "content": {
                MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {code: {"value": example}}}
            },
        }
    return described


def install(app: FastAPI) -> None:
    """Complete the generated document: the problem schema, the ways to authenticate."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        components = document.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        if "Problem" not in schemas:
            problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= problem.pop("$defs")
            schemas["Problem"] = problem
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            components["securitySchemes"] = {
                "session": {"type": "apiKey", "in": "cookie", "name": "__Host-elink-session"},
                "token": {"type": "http", "scheme": "bearer"},
                "csrf": {"type": "apiKey", "in": "header", "name": "X-CSRF-Token"},
            }
            for methods in document["paths"].values():
                for method, operation in methods.items():
                    safe = method in ("get", "head")
                    # What stands before every route answers too.
                    before = problems(400, 413, 414, 431) if "requestBody" in operation else problems(414, 431)
                    for status, described in before.items():
                        operation["responses"].setdefault(str(status), described)
                    operation["security"] = [{"session": []} if safe else {"session": [], "csrf": []}, {"token": []}]
        return document

    app.openapi = openapi  # type: ignore[method-assign]
