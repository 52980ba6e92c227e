"""Every name that the operator gives to something. One place, pinned by a test: names are API."""

import hashlib
import re
from collections.abc import Collection
from typing import Final

GROUP: Final = "elink-lc.com"
VERSION: Final = "v1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

FINALIZER: Final = f"{GROUP}/erasure"
FIELD_MANAGER: Final = "elink-operator"
HANDOVER_MANAGER: Final = "elink-operator-handover"
LEASE: Final = "elink-operator"

NAME_PATTERN: Final = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
NAME_MAX_LENGTH: Final = 63
GENERATION_PATTERN: Final = r"[0-9]{8}T[0-9]{6}Z"
"""Names of generations of backups: when a backup began, UTC. The backup image gives them."""
ID_MAX_LENGTH: Final = 40
_ID_HEAD_LENGTH: Final = 31
_DIGEST_LENGTH: Final = 8

SERVICE_ACCOUNT: Final = "elink"
POSTGRES: Final = "postgres"
MAIL_AUTHORITY_SECRET: Final = "mail-ca"  # noqa: S105 - the name of a Secret, not a password
MAIL_LOGIN_SECRET: Final = "mail-login"  # noqa: S105 - the name of a Secret, not a password
POSTGRES_SECRET: Final = "postgres-credentials"  # noqa: S105 - the name of a Secret, not a password
POSTGRES_CONFIG: Final = "postgres-config"
WEB: Final = "web"
WORKER: Final = "worker"
INBOUND: Final = "inbound"
FILES_VOLUME: Final = "files"
BACKUPS_VOLUME: Final = "backups"
SERVER_BACKUP: Final = "server-backup"
"""CronJob of a server's own backups, and the Secret with the log-in of `BACKUP_ROLE`."""
SERVER_KEY_COPY: Final = "server-backup-key"
SERVER_STORE_SECRET: Final = "server-backup-store"  # noqa: S105 - the name of a Secret, not a password
SERVER_BACKUP_FOLDER: Final = ".server"
"""Folder of a server's own backups on its volume; a tenant's ID begins with a letter."""
RESOURCE_QUOTA: Final = "server"
LIMIT_RANGE: Final = "defaults"
DEFAULT_DENY: Final = "default-deny"

WEB_PORT: Final = 8000
WEB_SERVICE_PORT: Final = 80
METRICS_PORT: Final = 9000
POSTGRES_PORT: Final = 5432
INBOUND_PORT: Final = 2525
INBOUND_SERVICE_PORT: Final = 25

FILES_MOUNT: Final = "/var/lib/elink"
BACKUP_MOUNT: Final = "/backup"
TENANTS_FOLDER: Final = "tenants"
JOURNALS_FOLDER: Final = "journals"

REGISTRY_DATABASE: Final = "elink_registry"
TEMPLATE_DATABASE: Final = "elink_template"
OPERATOR_ROLE: Final = "elink_operator"
APP_ROLE: Final = "elink_app"
TEMPLATE_ROLE: Final = "elink_template"
BACKUP_ROLE: Final = "elink_backup"
SPARE_PREFIX: Final = "spare_"
SCRATCH_PREFIX: Final = "r_"
KEPT_PREFIX: Final = "k_"

_NAME: Final = re.compile(NAME_PATTERN)


def is_generation(name: str) -> bool:
    """Whether this is the name of a generation."""
    return re.fullmatch(GENERATION_PATTERN, name) is not None


def digest(text: str, length: int = _DIGEST_LENGTH) -> str:
    """The first `length` hex digits of sha256(text)."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def is_valid_name(name: str) -> bool:
    """True for a DNS label of 1-63 characters that starts with a letter."""
    return len(name) <= NAME_MAX_LENGTH and _NAME.match(name) is not None and not name.endswith("\n")


def short_id(name: str) -> str:
    """The ID of a tenant or server: the name when it has at most 40 characters, else 31 + '-' + 8 hex digits.

    Forty characters leave room for every prefix within 63 (and within 52 for a CronJob).
    """
    if len(name) <= ID_MAX_LENGTH:
        return name
    return f"{name[:_ID_HEAD_LENGTH]}-{digest(name)}"


def server_namespace(server: str) -> str:
    """The namespace that holds everything of one server."""
    return f"elink-srv-{short_id(server)}"


def tenant_database(tenant: str) -> str:
    """The database of a tenant; its owner role has the same name."""
    return "t_" + short_id(tenant).replace("-", "_")


def tenant_role(tenant: str) -> str:
    """The role that owns the tenant's database."""
    return tenant_database(tenant)


def scratch_database(tenant: str, restore: str) -> str:
    """The database that a restore fills; `restore`: 8 hex digits of the restore's uid (see `digest`)."""
    return f"{SCRATCH_PREFIX}{restore}_{tenant_database(tenant).removeprefix('t_')}"


def kept_database(tenant: str, restore: str) -> str:
    """What the tenant's database is called after that restore took its place."""
    return f"{KEPT_PREFIX}{restore}_{tenant_database(tenant).removeprefix('t_')}"


def tenant_secret(tenant: str) -> str:
    """The Secret with the tenant's database credentials, in the server's namespace."""
    return f"tenant-{short_id(tenant)}"


def tenant_route(tenant: str) -> str:
    """The tenant's HTTPRoute, in the server's namespace."""
    return f"tenant-{short_id(tenant)}"


def tenant_directory(tenant: str) -> str:
    """The tenant's directory as the app's containers see it."""
    return f"{FILES_MOUNT}/{tenant_files_subpath(tenant)}"


def tenant_files_subpath(tenant: str) -> str:
    """The tenant's directory inside the volume `files`."""
    return f"{TENANTS_FOLDER}/{short_id(tenant)}"


def restored_files_subpath(tenant: str) -> str:
    """Where a restore puts the tenant's files, beside its directory; no tenant's ID begins with a dot."""
    return f"{TENANTS_FOLDER}/.restore-{short_id(tenant)}"


def tenant_backup_folder(tenant: str) -> str:
    """The tenant's folder inside the volume `backups`."""
    return short_id(tenant)


def backup_cronjob(tenant: str) -> str:
    """The tenant's backup CronJob (at most 52 characters, the CronJob limit)."""
    return f"backup-{short_id(tenant)}"


def backup_key_secret(tenant: str) -> str:
    """The Secret with the key of the tenant's backups, in the management namespace: it outlives a lost server."""
    return f"elink-{tenant}-backup-key"


def backup_key_copy(tenant: str) -> str:
    """The copy of that Secret in the server's namespace, which the backup Job mounts."""
    return f"backup-key-{short_id(tenant)}"


def backup_store_secret(tenant: str) -> str:
    """The Secret with the tenant's log-in to the object store, in the server's namespace."""
    return f"backup-store-{short_id(tenant)}"


def backup_bucket(prefix: str, tenant: str) -> str:
    """The tenant's bucket in the object store; its account has the same name."""
    return f"{prefix}{short_id(tenant)}"


def server_key_secret(server: str) -> str:
    """The key of a server's own backups, in the management namespace. No tenant's name has a dot."""
    return f"elink-server.{server}-backup-key"


def server_bucket(prefix: str, server: str) -> str:
    """The bucket of a server's own backups; its account has the same name. A tenant's goes on with a letter.

    At most 40 characters after the prefix, as a tenant's.
    """
    if len(server) < ID_MAX_LENGTH:
        return f"{prefix}0{server}"
    return f"{prefix}0{server[: _ID_HEAD_LENGTH - 1]}-{digest(server)}"


def forget_job(requests: Collection[str]) -> str:
    """The Job that takes tenants out of the server's own backups; `requests`: what asked for it, in any order."""
    return f"forget-{digest(' '.join(sorted(requests)))}"


def erase_job(tenant: str) -> str:
    """The Job that removes the tenant's directory and backups."""
    return f"erase-{short_id(tenant)}"


def restore_job(uid: str, what: str) -> str:
    """A Job of the restore with this uid, such as `switch`; never the name of a Job of a schedule."""
    return f"restore-{digest(uid)}-{what}"


def borrowed_secret(uid: str, secret: str) -> str:
    """The copy of a Secret of another server's namespace, for as long as the restore with this uid reads its store."""
    return f"restore-{digest(uid)}-{digest(secret)}"


def drill(tenant: str, date: str) -> str:
    """The rehearsal of a restore that the operator makes on a day (yyyymmdd)."""
    return f"drill-{short_id(tenant)}-{date}"


def move(tenant: str, generation: int) -> str:
    """The ElinkRestore that moves a tenant because this generation of its spec asks for it."""
    return f"move-{short_id(tenant)}-{generation}"


def migrate_job(version: str, template_revision: str) -> str:
    """The migration Job: a new one for each app version and template revision."""
    return f"migrate-{digest(version + template_revision)}"


def master_secret(tenant: str) -> str:
    """The Secret with the first log-in, in the management namespace. People look for the full tenant name."""
    return f"elink-{tenant}-master"


def tenant_host(tenant: str, host: str | None, base_domain: str) -> str:
    """The host name of a tenant: `host` when it has a dot, else `<host or tenant>.<base_domain>`."""
    label = host or tenant
    return label if "." in label else f"{label}.{base_domain}"


def tenant_url(host: str, external_port: int) -> str:
    """The address that users type; the port is left out when it is 443."""
    return f"https://{host}" if external_port == 443 else f"https://{host}:{external_port}"
