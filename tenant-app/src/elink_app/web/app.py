"""Puts the web application together."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Depends, FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from elink_app.accounts import api as accounts_api
from elink_app.accounts import routes as accounts_pages
from elink_app.addresses import api as addresses_api
from elink_app.addresses import routes as addresses_pages
from elink_app.dashboard import routes as dashboard_pages
from elink_app.errors import NotFound
from elink_app.web import csrf, openapi, problems
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
    accounts_api.router,
    addresses_api.router,
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


def create_app(state: WebState) -> WebApp:
    """The application around its state; the order of the layers is the order of the questions asked of a request."""
    app = FastAPI(
        title="elink API",
        version="1",
        description=openapi.DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(csrf.guard)],
        redirect_slashes=False,
    )
    app.state.elink = state
    app.add_api_route("/static/{name}", _static, methods=["GET", "HEAD"], include_in_schema=False)
    for router in ROUTERS:
        app.include_router(router)
    problems.install(app)
    openapi.install(app)

    layered: ASGIApp = SameOrigin(app, app)
    layered = Limits(layered, state.settings.body_limit_bytes)
    layered = Tenancy(layered, state.directory, state.metrics, app)
    layered = SecurityHeaders(layered)
    layered = RequestContext(layered, state.metrics)
    return WebApp(layered, app)
