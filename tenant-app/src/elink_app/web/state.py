"""What a web process holds, and how a request gets at it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from starlette.requests import Request
from starlette.types import Scope

from elink_app.accounts.service import Accounts
from elink_app.accounts.sessions import Client, SessionPolicy
from elink_app.clock import Clock
from elink_app.dashboard.storage import StorageMeter
from elink_app.database.engines import TenantDatabases
from elink_app.registry.directory import TenantDirectory
from elink_app.registry.notices import NoticeReader
from elink_app.registry.tenant import Tenant
from elink_app.registry.wakeups import Wakeups
from elink_app.settings import Settings
from elink_app.telemetry.metrics import Metrics
from elink_app.web import cookies
from elink_app.web.assets import Assets
from elink_app.web.i18n import TRANSLATORS, Translator, choose_language

TENANT = "elink.tenant"
REQUEST_ID = "elink.request_id"
STATE = "elink.state"


@dataclass(frozen=True)
class WebState:
    """Made once at start; the outermost layer puts it into the scope of each request."""

    settings: Settings
    directory: TenantDirectory
    databases: TenantDatabases
    accounts: Accounts
    assets: Assets
    metrics: Metrics
    clock: Clock
    wakeups: Wakeups
    notices: NoticeReader
    storage: StorageMeter

    @property
    def session_policy(self) -> SessionPolicy:
        """When sessions end."""
        return self.accounts.policy

    def base_url(self, tenant: Tenant) -> str:
        """Where the tenant is reached, for links in mails. Never from the request: its headers are a stranger's."""
        return self.settings.tenant_url(tenant.host)

    @property
    def undo_window(self) -> timedelta:
        """How long a deleted address can be brought back."""
        return timedelta(days=self.settings.undo_days)


def state_of(request: Request) -> WebState:
    """The process's state."""
    state: WebState = request.scope[STATE]
    return state


def tenant_of(request: Request) -> Tenant:
    """The tenant that the Host header chose; the middleware lets no request through without one."""
    tenant: Tenant = request.scope[TENANT]
    return tenant


def client_of(request: Request) -> Client:
    """Who asks: the address that the gateway told, and the browser's name for itself."""
    return Client(
        address=request.client.host if request.client else "",
        user_agent="".join(c for c in request.headers.get("user-agent", "") if c.isprintable())[:200],
    )


def request_id_of(scope: Scope) -> str:
    """The id that the log lines of this request bear."""
    return str(scope.get(REQUEST_ID, ""))


def translator_of(request: Request) -> Translator:
    """The language of this request."""
    tenant: Tenant | None = request.scope.get(TENANT)
    language = choose_language(
        cookie=request.cookies.get(cookies.LANGUAGE),
        tenant=tenant.language if tenant is not None else "",
        accept=request.headers.get("accept-language"),
    )
    return TRANSLATORS[language]
