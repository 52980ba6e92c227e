"""What the builders need besides the resources themselves; gathered by `reconcile`, never read from the world here."""

import base64
import hmac
from dataclasses import dataclass, field, replace

from elink_operator import naming
from elink_operator.api import ElinkServer, ElinkTenant
from elink_operator.api.server import DatabaseMode
from elink_operator.settings import Settings

DATABASE_AUTHORITY = "ca.crt"


@dataclass(frozen=True)
class Endpoint:
    """Where a server's PostgreSQL listens, and how its clients encrypt.

    `sslmode` is libpq's (empty: encrypted when the server offers it); `authority` the only certificate authority to
    trust (PEM), which pods find as `ca.crt` in `postgres-credentials`. Both are for External databases.
    """

    host: str
    port: int = naming.POSTGRES_PORT
    sslmode: str = ""
    authority: str = field(default="", repr=False)

    def client(self, folder: str) -> dict[str, str]:
        """The environment of PostgreSQL's clients (libpq and asyncpg read the same); `folder`: where `ca.crt` lies."""
        return {
            **({"PGSSLMODE": self.sslmode} if self.sslmode else {}),
            **({"PGSSLROOTCERT": f"{folder}/{DATABASE_AUTHORITY}"} if self.authority else {}),
        }

    @property
    def trusted(self) -> dict[str, tuple[str, ...]]:
        """Secret and key that its clients' pods mount beside their log-in."""
        return {naming.POSTGRES_SECRET: (DATABASE_AUTHORITY,)} if self.authority else {}


@dataclass(frozen=True)
class Access:
    """How to reach a server's PostgreSQL: the operator's log-in and the app's password.

    `tenant_key` is what tenants' passwords are derived from, so that a steady tenant's Secret need not be read to be
    verified, and a lost one comes back as it was. No pod ever sees it. `fingerprint` changes with any of the values
    that pods use, and tells nothing about them.
    """

    endpoint: Endpoint
    username: str
    password: str = field(repr=False)
    app_password: str = field(repr=False)
    tenant_key: str = field(repr=False)
    fingerprint: str = ""

    def tenant_password(self, uid: str) -> str:
        """The password of a tenant's role: HMAC-SHA256 of its uid, URL-safe."""
        mac = hmac.digest(self.tenant_key.encode(), uid.encode(), "sha256")
        return base64.urlsafe_b64encode(mac).decode().rstrip("=")

    @property
    def backup_password(self) -> str:
        """The password of the role that reads the registry for the server's own backups; no uid has a space."""
        return self.tenant_password("elink server backup")


@dataclass(frozen=True)
class MailLogin:
    """The log-in of web and worker at the relay; `fingerprint` changes with it and tells nothing about it."""

    username: str
    password: str = field(repr=False)
    fingerprint: str = ""

    def keyed(self, key: str) -> "MailLogin":
        """With a fingerprint. `key` is random: of a password that a person chose a plain hash could be guessed."""
        mac = hmac.digest(key.encode(), f"{self.username}\n{self.password}".encode(), "sha256")
        return replace(self, fingerprint=mac.hex()[:16])


@dataclass(frozen=True)
class ServerInputs:
    """One server. `version` is the app image tag to run; `postgres_image` is kept by a running server.

    `worker_stopped`: the tenant of a Dedicated server is suspended or cancelled. `credentials_hash` restarts the
    pods when the passwords change. `mail_authority`: the only certificate authority to trust at the relay (PEM).
    """

    server: ElinkServer
    settings: Settings
    version: str
    endpoint: Endpoint
    postgres_image: str
    worker_stopped: bool = False
    credentials_hash: str = ""
    mail_login: MailLogin | None = None
    mail_authority: str = ""

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
class MasterLink:
    """The one-time link of the master account; `token` is known only when the Secret is made."""

    token: str = field(repr=False)
    expires_at: str


@dataclass(frozen=True)
class TenantInputs:
    """One tenant on its server. `maintenance`: a restore replaces its data, so nobody works with it or backs it up."""

    tenant: ElinkTenant
    server: str
    settings: Settings
    access: Access
    region: str
    maintenance: bool = False
    schema: str = ""
    """Which schema the tenant's database has: `schema_of` its server."""

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


def schema_of(server: ElinkServer) -> str:
    """The schema of a server's databases: app version and last migration; changes once per upgrade."""
    return f"{server.status.version}-{server.status.migration.rpartition('-')[2]}"
