"""Puts the web application together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from fastapi import Depends, FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from elink_app.accounts import api as accounts_api
from elink_app.accounts import routes as accounts_pages
from elink_app.addresses import api as addresses_api
from elink_app.addresses import routes as addresses_pages
from elink_app.attributes import api as attributes_api
from elink_app.attributes import routes as attributes_pages
from elink_app.audit import api as audit_api
from elink_app.audit import routes as audit_pages
from elink_app.clicks import routes as clicks_pages
from elink_app.consent import api as consent_api
from elink_app.consent import routes as consent_pages
from elink_app.contact import api as contact_api
from elink_app.contact import routes as contact_pages
from elink_app.dashboard import api as dashboard_api
from elink_app.dashboard import routes as dashboard_pages
from elink_app.deliveries import api as deliveries_api
from elink_app.deliveries import attachment_api as attachments_api
from elink_app.deliveries import attachment_routes as attachments_pages
from elink_app.deliveries import routes as deliveries_pages
from elink_app.deliveries import running_routes as running_pages
from elink_app.duplicates import api as duplicates_api
from elink_app.duplicates import routes as duplicates_pages
from elink_app.errors import NotFound
from elink_app.jobs import api as jobs_api
from elink_app.jobs import routes as jobs_pages
from elink_app.labels import api as labels_api
from elink_app.labels import routes as labels_pages
from elink_app.manual import routes as manual_pages
from elink_app.notices import api as notices_api
from elink_app.notices import routes as notices_pages
from elink_app.optout import routes as optout_pages
from elink_app.passkeys import routes as passkeys_pages
from elink_app.people import api as people_api
from elink_app.people import routes as people_pages
from elink_app.roles import api as roles_api
from elink_app.roles import routes as roles_pages
from elink_app.security import api as security_api
from elink_app.security import factor_routes as factor_pages
from elink_app.security import login_routes as login_pages
from elink_app.security import master_routes as master_pages
from elink_app.segments import api as segments_api
from elink_app.segments import routes as segments_pages
from elink_app.senders import api as senders_api
from elink_app.senders import routes as senders_pages
from elink_app.templates import api as templates_api
from elink_app.templates import routes as templates_pages
from elink_app.tokens import api as tokens_api
from elink_app.tokens import routes as tokens_pages
from elink_app.transfer import api as transfer_api
from elink_app.transfer import export_api as exports_api
from elink_app.transfer import export_routes as export_pages
from elink_app.transfer import routes as transfer_pages
from elink_app.utilities import api as utilities_api
from elink_app.utilities import routes as utilities_pages
from elink_app.web import csrf, openapi, problems, uploads
from elink_app.web.middleware.context import RequestContext
from elink_app.web.middleware.headers import SecurityHeaders
from elink_app.web.middleware.limits import Limits
from elink_app.web.middleware.origin import SameOrigin
from elink_app.web.middleware.tenancy import Tenancy
from elink_app.web.state import WebState, state_of

ROUTERS = (
    dashboard_pages.router,
    accounts_pages.router,
    addresses_pages.router,
    people_pages.router,
    roles_pages.router,
    tokens_pages.router,
    login_pages.router,
    factor_pages.router,
    master_pages.router,
    passkeys_pages.router,
    audit_pages.router,
    deliveries_pages.router,
    running_pages.router,
    attachments_pages.router,
    templates_pages.router,
    optout_pages.router,
    clicks_pages.router,
    senders_pages.router,
    jobs_pages.router,
    transfer_pages.router,
    attributes_pages.router,
    consent_pages.router,
    duplicates_pages.router,
    segments_pages.router,
    labels_pages.router,
    export_pages.router,
    utilities_pages.router,
    notices_pages.router,
    contact_pages.router,
    manual_pages.router,
    accounts_api.router,
    security_api.router,
    dashboard_api.router,
    contact_api.router,
    people_api.router,
    roles_api.router,
    tokens_api.router,
    audit_api.router,
    addresses_api.router,
    deliveries_api.router,
    attachments_api.router,
    templates_api.router,
    senders_api.router,
    jobs_api.router,
    transfer_api.router,
    attributes_api.router,
    consent_api.router,
    duplicates_api.router,
    labels_api.router,
    segments_api.router,
    utilities_api.router,
    exports_api.router,
    notices_api.router,
)
_A_YEAR = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class WebApp:
    """`asgi` is what is served; `routes` is the framework's part of it, for inspection."""

    asgi: ASGIApp
    routes: FastAPI


async def _static(request: Request, name: str) -> Response:
    asset = state_of(request).assets.find(name)
    if asset is None:
        raise NotFound
    return Response(asset.content, media_type=asset.media_type, headers={"Cache-Control": _A_YEAR})


@cache
def _framework() -> FastAPI:
    """The routes, which are the same whatever the state is."""
    app = FastAPI(
        title="elink API",
        version="1",
        description=openapi.DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(csrf.guard)],
        redirect_slashes=False,
    )
    app.add_api_route("/static/{name}", _static, methods=["GET", "HEAD"], include_in_schema=False)
    for router in ROUTERS:
        app.include_router(router)
    problems.install(app)
    openapi.install(app)
    # FastAPI prepares routes when they are first matched: nobody shall wait for it.
    for route in app.router.routes:
        route.matches({"type": "http", "method": "GET", "path": "/", "root_path": "", "headers": []})
    return app


def create_app(state: WebState) -> WebApp:
    """The application around its state; the order of the layers is the order of the questions asked of a request."""
    app = _framework()
    layered: ASGIApp = SameOrigin(app)
    layered = Limits(layered, lambda path: uploads.limit_of(path, state.settings))
    layered = Tenancy(layered, state.directory, state.metrics)
    layered = SecurityHeaders(layered)
    layered = RequestContext(layered, state)
    return WebApp(layered, app)
