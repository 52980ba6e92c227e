"""Rendering of pages: one template environment per language, everything escaped unless marked safe."""

from __future__ import annotations

from functools import cache
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.routing import Match

from elink_app.accounts.permissions import Permission, Principal
from elink_app.errors import FieldError
from elink_app.numbers import number_text
from elink_app.sentforms.service import new_form_key
from elink_app.web import cookies, csrf
from elink_app.web.forms import safe_next
from elink_app.web.i18n import TRANSLATORS, catalog
from elink_app.web.state import request_id_of, state_of, tenant_of, translator_of


@cache
def environment(language: str) -> Environment:
    """Jinja with the texts of one language; an unknown variable is an error, not an empty string."""
    made = Environment(
        loader=PackageLoader("elink_app.web"),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    texts = catalog(language)
    made.install_gettext_callables(  # type: ignore[attr-defined]
        texts.gettext, texts.ngettext, newstyle=True, pgettext=texts.pgettext, npgettext=texts.npgettext
    )
    translator = TRANSLATORS[language]
    made.filters |= {"moment": translator.moment, "number": translator.number, "message": translator.text}
    made.filters["digits"] = number_text
    made.globals["language"] = language
    return made


class FormErrors:
    """The errors of one form for its template, by field name."""

    def __init__(self, errors: list[FieldError] | None = None) -> None:
        self.all = errors or []

    def __bool__(self) -> bool:
        return bool(self.all)

    def of(self, field: str) -> list[FieldError]:
        """The errors of one field and its parts."""
        return [error for error in self.all if error.field and error.field[0] == field]


def render(
    request: Request,
    template: str,
    *,
    principal: Principal | None = None,
    status: int = 200,
    headers: dict[str, str] | None = None,
    path: str | None = None,
    **values: Any,
) -> HTMLResponse:
    """A whole page. A browser without a session gets a secret for its forms.

    `path`: where the choice of language leads back to, when the address of the request does not tell.
    """
    state = state_of(request)
    usable = csrf.usable_secrets(request)
    secret = usable[0] if usable else csrf.new_form_secret()
    page = environment(translator_of(request).language).get_template(template)
    html = page.render(
        tenant=tenant_of(request),
        principal=principal,
        Permission=Permission,
        csrf_token=csrf.csrf_token(secret),
        new_form_key=new_form_key,
        asset=state.assets.url,
        path=request.url.path,
        this_page=path or _this_page(request),
        posted=request.method not in csrf.SAFE_METHODS,
        request_id=request_id_of(request.scope),
        **values,
    )
    response = HTMLResponse(html, status_code=status, headers=headers)
    if not usable:
        cookies.set_form(response, secret)
    return response


def _this_page(request: Request) -> str:
    """An address at which this page, or the nearest one above it, can be opened: not every form's own is one."""
    path = request.url.path
    if request.method in csrf.SAFE_METHODS:
        # The query is part of the page: without it a link of a mail leads nowhere. What was done is not said again.
        query = urlencode([(name, value) for name, value in request.query_params.multi_items() if name != "notice"])
        return f"{path}?{query}" if query and safe_next(f"{path}?{query}") != "/" else path
    app = request.scope.get("app")
    while app is not None and path:
        asked = {"type": "http", "method": "GET", "path": path, "root_path": "", "headers": []}
        if any(route.matches(asked)[0] is Match.FULL for route in app.router.routes):
            return path
        path = path.rpartition("/")[0]
    return "/"


def redirect(path: str) -> RedirectResponse:
    """After a POST: go and GET `path`, which is one of our own."""
    return RedirectResponse(path, status_code=303)
