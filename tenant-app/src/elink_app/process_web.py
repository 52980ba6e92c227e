"""The role that serves pages and the API."""

from __future__ import annotations

from elink_app.accounts.passwords import Passwords
from elink_app.accounts.service import Accounts
from elink_app.clock import utc_now
from elink_app.dashboard.storage import StorageMeter
from elink_app.ops.health import ops_app
from elink_app.ops.servers import Stop, ops_server, run_servers, web_server
from elink_app.process import Parts, background, make_parts
from elink_app.settings import Settings
from elink_app.web.app import WebApp, create_app
from elink_app.web.assets import Assets
from elink_app.web.state import WebState


def make_web(parts: Parts) -> WebApp:
    """The web application on these parts."""
    accounts = Accounts(parts.databases.transaction, Passwords(), utc_now, parts.session_policy, parts.metrics)
    return create_app(
        WebState(
            parts.settings,
            parts.directory,
            parts.databases,
            accounts,
            Assets(),
            parts.metrics,
            utc_now,
            parts.wakeups,
            parts.notices,
            StorageMeter(utc_now),
        )
    )


async def run(settings: Settings) -> None:
    """Serve pages and API until asked to stop."""
    stop = Stop()
    stop.on_signals()
    parts = make_parts(settings)
    web = make_web(parts)
    probes = ops_app(
        alive=lambda: True,
        ready=lambda: parts.directory.loaded and not stop.asked,
        registry=parts.metrics.registry,
    )
    async with background(parts):
        await run_servers(stop, settings, first=[web_server(web.asgi, settings)], last=ops_server(probes, settings))
