"""Settings of one process, read once from the environment (see docs/architecture.md, section 6)."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from elink_app.mail.smtp import Relay

PRIVATE_NETWORKS = "127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7"


class Settings(BaseSettings):
    """Every value has the prefix `ELINK_` in the environment. Durations are seconds."""

    model_config = SettingsConfigDict(env_prefix="ELINK_", frozen=True, extra="ignore")

    role: Literal["web", "worker", "migrate"] = "web"
    server_name: str = "local"
    version: str = "dev"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    db_host: str = "postgres"
    db_port: int = Field(default=5432, ge=1, le=65535)
    db_user: str = "elink_app"
    db_password_file: Path | None = None
    registry_database: str = "elink_registry"
    template_database: str = "elink_template"
    # The template's objects belong to this role; a tenant's belong to the role in its registry row.
    template_role: str = "elink_template"
    # `migrate` only: this database and no other, as `db_user` itself. For a restored one, which is in no registry.
    migrate_database: str = ""

    db_max_connections: int = Field(default=40, ge=2, description="per process, over all tenants")
    db_pool_size: int = Field(default=5, ge=1, description="at most, per tenant")
    db_pool_timeout: float = Field(default=5, gt=0)
    db_connect_timeout: float = Field(default=5, gt=0)
    db_statement_timeout: float = Field(default=15, gt=0)
    db_lock_timeout: float = Field(default=5, gt=0)
    db_idle_engine_seconds: float = Field(default=300, gt=0)

    registry_reread_seconds: float = Field(default=30, gt=0)

    files_dir: Path = Path("/var/lib/elink")

    smtp_host: str = ""
    smtp_port: int = Field(default=25, ge=1, le=65535)
    smtp_tls: Literal["off", "starttls", "implicit"] = "off"
    smtp_user: str = ""
    smtp_password_file: Path | None = None
    smtp_ca_file: Path | None = Field(default=None, description="the only authority to trust at the relay")
    smtp_connections: int = Field(default=20, ge=1, description="to the relay, per worker process")
    domain_mails_per_minute: int | None = Field(default=None, ge=1, description="to one domain, over all workers")
    # Without it bounces go to the senders' own mailboxes.
    bounce_domain: str = ""
    inbound_port: int = Field(default=2525, ge=0, le=65535, description="where the worker takes bounces")
    journal_dir: Path | None = None

    # Named on its own, not `0.0.0.0` in code: a pod has one address family or two.
    listen_host: str = "0.0.0.0"  # noqa: S104 - a pod listens on its own address; policy decides who reaches it
    web_port: int = Field(default=8000, ge=0, le=65535)
    ops_port: int = Field(default=9000, ge=0, le=65535)
    external_port: int | None = None
    # Only the gateway reaches port 8000 (NetworkPolicy), and it has a private address.
    trusted_proxies: str = PRIVATE_NETWORKS
    drain_seconds: float = Field(default=3, ge=0, description="answers go on after readiness is withdrawn")
    shutdown_seconds: int = Field(default=20, ge=1)

    body_limit_bytes: int = Field(default=1_048_576, ge=1024)
    upload_limit_bytes: int = Field(default=104_857_600, ge=1024, description="for files to import")
    # Every recipient gets them: 1,000 mails with this much are 2.7 GB for the relay, and old receivers refuse more.
    attachments_limit_bytes: int = Field(default=2_000_000, ge=0, description="of a delivery, all files together")

    session_idle_seconds: int = Field(default=2 * 3600, ge=60)
    session_absolute_seconds: int = Field(default=12 * 3600, ge=60)
    undo_days: int = Field(default=7, ge=1)
    housekeeping_seconds: float = Field(default=300, gt=0)
    task_look_seconds: float = Field(default=60, gt=0, description="each tenant is looked at so often, woken or not")
    task_slots: int = Field(default=16, ge=1, description="tasks of tenants at once, per worker process")

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        for network in value.split(","):
            ipaddress.ip_network(network.strip())
        return value

    @field_validator("external_port", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    def db_password(self) -> SecretStr | None:
        """The password for the database, read at every call so that a rotated Secret is taken up."""
        if self.db_password_file is None:
            return None
        return SecretStr(self.db_password_file.read_text(encoding="utf-8").rstrip("\n"))

    def relay(self) -> Relay:
        """How the relay is reached."""
        password = self.smtp_password_file
        return Relay(
            self.smtp_host,
            self.smtp_port,
            self.smtp_tls,
            self.smtp_user,
            password.read_text(encoding="utf-8").rstrip("\n") if password is not None else "",
            authority=self.smtp_ca_file,
            local_name=self.server_name if self.server_name.isascii() else "localhost",
        )

    def tenant_url(self, host: str) -> str:
        """The address of a tenant's pages as people reach it."""
        return f"https://{host}" + (f":{self.external_port}" if self.external_port not in (None, 443) else "")

    @property
    def journals(self) -> Path:
        """The folder of the delivery journals: best on a volume that outlives the pod."""
        return self.journal_dir or self.files_dir / "journals"

    @property
    def tenants_dir(self) -> Path:
        """The folder that holds one directory per tenant."""
        return self.files_dir / "tenants"
