"""What the builders need besides the resources themselves; gathered by `reconcile`, never read from the world here."""

from dataclasses import dataclass, field

from elink_operator import naming
from elink_operator.api import ElinkServer, ElinkTenant
from elink_operator.api.server import DatabaseMode
from elink_operator.settings import Settings


@dataclass(frozen=True)
class Endpoint:
    """Where a server's PostgreSQL listens."""

    host: str
    port: int = naming.POSTGRES_PORT


@dataclass(frozen=True)
class ServerInputs:
    """One server. `version` is the app image tag to run; `postgres_image` is kept by a running server.

    `paused` tells why the worker is stopped (a suspended Dedicated tenant); empty lets it run.
    """

    server: ElinkServer
    settings: Settings
    version: str
    endpoint: Endpoint
    postgres_image: str
    worker_stopped: bool = False

    @property
    def name(self) -> str:
        return self.server.name

    @property
    def namespace(self) -> str:
        return naming.server_namespace(self.server.name)

    @property
    def region(self) -> str:
        return self.server.spec.region or self.settings.default_region

    @property
    def embedded(self) -> bool:
        return self.server.spec.database.mode is DatabaseMode.EMBEDDED


@dataclass(frozen=True)
class PostgresCredentials:
    """Passwords of the two log-in roles of a server's PostgreSQL."""

    username: str
    password: str = field(repr=False)
    app_password: str = field(repr=False)


@dataclass(frozen=True)
class MasterLink:
    """The one-time link of the master account; `token` is known only when the Secret is made."""

    token: str = field(repr=False)
    expires_at: str


@dataclass(frozen=True)
class TenantInputs:
    """One tenant on its server."""

    tenant: ElinkTenant
    server: str
    settings: Settings
    endpoint: Endpoint

    @property
    def name(self) -> str:
        return self.tenant.name

    @property
    def namespace(self) -> str:
        return naming.server_namespace(self.server)

    @property
    def host(self) -> str:
        return naming.tenant_host(self.name, self.tenant.spec.host, self.settings.base_domain)

    @property
    def url(self) -> str:
        return naming.tenant_url(self.host, self.settings.external_port)
