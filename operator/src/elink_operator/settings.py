"""Settings of the operator: environment variables `ELINK_*`, read once at start, frozen."""

import ipaddress
import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from elink_operator import __version__

PullPolicy = Literal["Always", "IfNotPresent", "Never"]


class Settings(BaseSettings):
    """Every default has its reason in the description; durations are seconds unless the name says so."""

    model_config = SettingsConfigDict(env_prefix="ELINK_", frozen=True, extra="ignore")

    namespace: str = Field("elink-system", description="The management namespace: operator, Lease, master Secrets.")
    gateway_namespace: str = Field("elink-gateway", description="Only pods of this namespace may reach a web pod.")
    gateway_name: str = Field("elink", description="The Gateway that tenant routes attach to.")
    gateway_listener: str = Field("https", description="Routes attach to the TLS listener only; `http` redirects.")
    probe_namespace: str = Field("elink-probe", description="Pods that try to cross borders, to prove isolation.")
    probe_service: str = Field("probe", description="Service of the isolation probe.")
    probe_port: int = Field(8080, ge=1, le=65535, description="HTTP port of the isolation probe.")
    probe_control: str = Field(
        "kube-dns.kube-system.svc:53",
        description="host:port that the probe must reach, else its failures to connect prove nothing.",
    )
    mail_namespace: str = Field("elink-mail", description="The only place that workers may send mail to.")
    mail_service: str = Field("mailpit", description="SMTP relay Service; the bundled one is a mail sink.")
    mail_port: int = Field(1025, ge=1, le=65535, description="SMTP port of the relay; 1025 needs no privilege.")

    mail_from: str = Field(
        "", description="Sender of mails to contacts about a cancellation; empty: they are not told, an Event says so."
    )
    mail_login_dir: str = Field(
        "", description="Folder with the files username and password for the operator's own mails; empty: no log-in."
    )
    mail_tls: Literal["off", "starttls", "implicit"] = Field(
        "off", description="TLS to the relay, whose certificate must be valid for its Service's name."
    )
    mail_ca_file: str = Field(
        "", description="The only certificate authority to trust at the relay (PEM); empty: the public ones."
    )
    mail_login_secret: str = Field(
        "",
        description="Secret in the operator's namespace with `username` and `password` for the relay; needs TLS.",
    )
    mail_domain_per_minute: int = Field(
        0, ge=0, description="Mails of deliveries to one recipient domain per minute and server; 0: no limit."
    )
    bounce_domain: str = Field(
        "",
        description="Returned mail goes to SERVER.<this>, by way of the relay; empty: to the senders' own mailboxes.",
    )
    base_domain: str = Field("elink.localhost", description="*.localhost resolves to loopback in every browser.")
    external_port: int = Field(443, ge=1, le=65535, description="Port that users see; 443 is left out of URLs.")
    regions: Annotated[frozenset[str], NoDecode] = Field(
        frozenset({"jp"}), description="Comma-separated. Customer data stays in Japan (white paper, R1)."
    )
    default_region: str = Field("jp", description="Region of a server or tenant that names none.")
    region_node_label: str = Field(
        "topology.kubernetes.io/region",
        description="Pods are pinned to nodes with this label = region; empty for a cluster in one region.",
    )

    app_image: str = Field(
        "docker.io/elink/tenant-app", description="Repository without tag: the tag is the server's version."
    )
    postgres_image: str = Field(
        f"docker.io/elink/postgres:{__version__}", description="Full reference; a running server keeps its own."
    )
    backup_image: str = Field(
        f"docker.io/elink/backup:{__version__}", description="Full reference; used by backup and erase Jobs."
    )
    backup_store: Literal["Volume", "S3"] = Field(
        "Volume", description="Where backups lie: on a volume of each server, or in a bucket per tenant."
    )
    backup_s3_endpoint: str = Field("", description="http(s)://host[:port] of the S3 store, without a path.")
    backup_s3_region: str = Field("us-east-1", description="Part of every signature; most stores take any.")
    backup_s3_accounts: Literal["versitygw", "shared"] = Field(
        "shared",
        description="versitygw: an account per tenant that reaches its own bucket only; shared: one log-in for all.",
    )
    backup_s3_bucket_prefix: str = Field(
        "elink-",
        pattern=r"^[a-z0-9][a-z0-9-]{0,22}$",
        description="Bucket of a tenant: this and its ID; with 63 characters at most 23 are left for it.",
    )
    backup_s3_credentials_dir: str = Field(
        "/etc/elink/backup-store",
        description="Folder with `access-key` and `secret-key`, read at each use: a new log-in needs no restart.",
    )
    backup_s3_ca_file: str = Field("", description="Certificate authority of the store; empty: the system's.")
    backup_s3_cidrs: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Comma-separated. Where the store is, when its name says neither an address nor a namespace."
    )
    external_database_cidrs: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Comma-separated. Where External databases are whose host is a name outside the cluster; pods of "
        "their servers reach nothing else. Empty, with no namespaces either: any address, on the database's port.",
    )
    external_database_namespaces: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Comma-separated. Namespaces of this cluster where such databases are."
    )
    image_pull_policy: PullPolicy = Field("IfNotPresent", description="Tags are immutable; preloaded images work.")
    image_pull_secret: str = Field("", description="Name of a pull Secret in each server namespace; empty for none.")
    default_app_version: str = Field(__version__, description="App image tag that a new server is pinned to.")
    template_revision: str = Field(
        "1", description="Raise it to run the migration Job again without a new app version."
    )

    storage_class: str = Field("", description="Class of all volumes; empty means the cluster's default.")
    backups_size: str = Field("10Gi", description="Volume of backups: seven compressed generations of small tenants.")
    priority_class: str = Field("", description="PriorityClass of tenant pods; empty for the cluster's default.")

    erasure_grace_days: int = Field(
        14,
        ge=0,
        le=30,
        description="Time to undo a cancellation; the promise is erasure within 30 days (R18).",
    )
    setup_link_days: int = Field(7, ge=1, le=30, description="A first log-in link that nobody used must die.")
    backup_generations: int = Field(
        7, ge=1, le=90, description="The least that is kept, whatever a tenant asks for; seven are promised (R10)."
    )
    drill_days: int = Field(
        30,
        ge=0,
        le=365,
        description="Each tenant's newest backup is restored on trial within this time; 0: never.",
    )
    drills_per_server: int = Field(1, ge=1, le=20, description="Trials at once on a server: customers work beside.")
    drills_at_once: int = Field(2, ge=1, le=100, description="Trials at once on all servers: they read the same store.")
    restore_keep_hours: int = Field(
        24, ge=0, le=720, description="How long the data that a restore replaced is kept beside the new."
    )
    time_zone: str = Field("Asia/Tokyo", description="Backups run in the night of the customers.")

    common_log_days: int = Field(
        365, ge=1, le=3650, description="How long common logs are kept; a record of an erasure names the date."
    )
    change_record_days: int = Field(
        400, ge=1, le=3650, description="How long records of changes (ElinkChange) are kept: a year and its audit."
    )
    resync_seconds: float = Field(600, gt=0, description="Every object is looked at again, spread over this period.")
    heal_seconds: float = Field(
        300, gt=0, description="Tenants and servers are compared with the API server: watches lose deletions."
    )
    reconcile_timeout_seconds: float = Field(
        300, gt=0, description="A run is cancelled after this time, so that it cannot hold its object for ever."
    )
    urgent_workers: int = Field(
        8, ge=1, description="Of the workers, these are kept free for what users wait for (changes, deletions)."
    )
    workers: int = Field(32, ge=1, description="Reconciles in flight; 64 brought no gain in measurements.")
    api_connections: int = Field(
        32, ge=1, description="Connections to the API server: each costs 256 KiB with TLS, more brought no gain."
    )
    api_timeout_seconds: float = Field(30, gt=0, description="One request; longer means the API server is lost.")
    api_connect_timeout_seconds: float = Field(5, gt=0, description="A dead endpoint must be noticed quickly.")
    api_writes_per_second: float = Field(200, gt=0, description="Below half of what a small API server takes.")
    api_write_burst: int = Field(400, ge=1, description="Two seconds of writes may come at once.")
    list_page_size: int = Field(
        50, ge=1, description="A parsed object takes 25 KiB, and at a start all kinds are listed at the same time."
    )
    watch_timeout_seconds: int = Field(300, ge=10, description="Watches end on the server side after this time.")
    watch_silence_seconds: float = Field(
        150, gt=0, description="Bookmarks come every ~60 s; two missing mean a dead watch."
    )
    event_dedup_seconds: float = Field(600, gt=0, description="The same Event is not written twice within this time.")
    retry_base_seconds: float = Field(1, gt=0, description="First back-off of a failed reconcile.")
    retry_max_seconds: float = Field(300, gt=0, description="Longest back-off: an outage of hours ends in minutes.")

    lease_duration_seconds: float = Field(15, gt=0, description="A dead leader is replaced after this time.")
    lease_renew_deadline_seconds: float = Field(
        10, gt=0, description="Shorter than the lease: stop before a rival may start."
    )
    lease_retry_seconds: float = Field(2, gt=0, description="Four tries to renew within the deadline.")

    database_connections: int = Field(
        4, ge=1, description="Per server; CREATE DATABASE is CPU-bound, twice the cores is enough."
    )
    database_timeout_seconds: float = Field(30, gt=0, description="One statement; CREATE DATABASE takes < 1 s.")
    database_connect_timeout_seconds: float = Field(
        5, gt=0, description="A PostgreSQL that is down must be noticed quickly."
    )
    spare_databases: int = Field(4, ge=0, description="Databases made while idle; renaming one takes 1 ms.")
    breaker_failures: int = Field(3, ge=1, description="Failures in a row after which a server is left alone.")
    breaker_seconds: float = Field(15, gt=0, description="How long; a restarted PostgreSQL is back within it.")

    kubeconfig: str = Field("", description="Path for development and tests; empty means the pod's service account.")
    metrics_port: int = Field(9000, ge=0, le=65535, description="/metrics, /healthz, /readyz; as in all our pods.")
    webhook_port: int = Field(9443, ge=0, le=65535, description="Admission webhook; above 1024 needs no privilege.")
    webhook_cert_dir: str = Field("", description="Folder with tls.crt and tls.key; needed while webhooks are enabled.")
    webhook_enabled: bool = Field(True, description="Refusing at admission is the first line of defence.")
    leader_election: bool = Field(True, description="Two replicas must never both write.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="JSON lines in JST.")

    @field_validator("mail_from")
    @classmethod
    def _check_sender(cls, value: str) -> str:
        if value and re.fullmatch(r"[^@\s<>\x00-\x1f]+@[A-Za-z0-9.-]+", value) is None:
            raise ValueError("must be an e-mail address without a display name")
        return value

    @field_validator("probe_control")
    @classmethod
    def _check_address(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdigit():
            raise ValueError("must be host:port")
        return value

    @field_validator("backup_s3_endpoint")
    @classmethod
    def _check_endpoint(cls, value: str) -> str:
        if value and not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?", value):
            raise ValueError("must be http://host[:port] or https://host[:port]")
        return value

    @field_validator("backup_s3_cidrs", "external_database_cidrs", mode="before")
    @classmethod
    def _split_cidrs(cls, value: object) -> object:
        return [str(ipaddress.ip_network(part)) for part in _parts(value)] if isinstance(value, str) else value

    @field_validator("external_database_namespaces", "regions", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return _parts(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_store(self) -> Self:
        if self.backup_store == "S3" and not self.backup_s3_endpoint:
            raise ValueError("backup_store S3 needs backup_s3_endpoint")
        return self

    def app_image_at(self, version: str) -> str:
        """The full reference of the tenant app at a version, e.g. `docker.io/elink/tenant-app:0.1.0`."""
        return f"{self.app_image}:{version}"

    @property
    def mail_host(self) -> str:
        """The relay's name in the cluster's DNS."""
        return f"{self.mail_service}.{self.mail_namespace}.svc"


def _parts(value: str) -> list[str]:
    """What stands between the commas."""
    return [part.strip() for part in value.split(",") if part.strip()]
