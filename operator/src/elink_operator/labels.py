"""Every label and annotation that the operator writes or selects by. One place, pinned by a test."""

from collections.abc import Mapping
from typing import Final

from elink_operator import naming

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGED_BY_VALUE: Final = "elink-operator"
SERVER: Final = f"{naming.GROUP}/server"
TENANT: Final = f"{naming.GROUP}/tenant"
COMPONENT: Final = f"{naming.GROUP}/component"
RESTORE: Final = f"{naming.GROUP}/restore"
TENANT_UID: Final = f"{naming.GROUP}/tenant-uid"
ROLE: Final = f"{naming.GROUP}/role"

WEB: Final = "web"
WORKER: Final = "worker"
POSTGRES: Final = "postgres"
MIGRATE: Final = "migrate"
BACKUP: Final = "backup"
RESTORING: Final = "restore"
"""Of the Jobs of a restore; their pods are `backup` pods to every policy: they reach the same places."""
ERASE: Final = "erase"
OPERATOR: Final = "operator"

ROLE_GATEWAY: Final = "gateway"
ROLE_PROBE: Final = "probe"
ROLE_MONITORING: Final = "monitoring"
ROLE_MAIL_RELAY: Final = "mail-relay"

APPLIED_HASH: Final = f"{naming.GROUP}/applied-hash"
CONFIRM_ERASURE: Final = f"{naming.GROUP}/confirm-erasure"
RECREATE_DATABASE: Final = f"{naming.GROUP}/recreate-database"
SKIP_SAFETY_BACKUP: Final = f"{naming.GROUP}/skip-safety-backup"
CONFIRM_RESTORE: Final = f"{naming.GROUP}/confirm-restore"
RESTORED_FROM: Final = f"{naming.GROUP}/restored-from"
RESTORED_BY: Final = f"{naming.GROUP}/restored-by"
DRILL: Final = f"{naming.GROUP}/drill"
REBUILD: Final = f"{naming.GROUP}/rebuild"
MOVE: Final = f"{naming.GROUP}/move"
TAKE_UPDATE: Final = f"{naming.GROUP}/take-update"
NEIGHBOURS_CHECKED: Final = f"{naming.GROUP}/neighbours-checked"
FORGETS: Final = f"{naming.GROUP}/forgets"
"""On the Job that takes tenants out of a server's own backups: JSON, what asked for it → tenant."""

CHANGED_BY: Final = f"{naming.GROUP}/changed-by"
ANNOTATED_BY: Final = f"{naming.GROUP}/annotated-by"
PLACED_ON: Final = f"{naming.GROUP}/placed-on"
PLACED_WHY: Final = f"{naming.GROUP}/placed-because"
LEFT: Final = f"{naming.GROUP}/left"
"""On a tenant: servers that it left by a move, or to which a move that failed had begun to bring it; commas between."""
OPERATOR_ANNOTATIONS: Final = frozenset(
    {APPLIED_HASH, CHANGED_BY, ANNOTATED_BY, PLACED_ON, PLACED_WHY, LEFT, RESTORED_BY, RESTORED_FROM}
)
"""On tenants and servers: the operator's own. All others of our group are set by people."""

NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"
REGION: Final = "topology.kubernetes.io/region"
ZONE: Final = "topology.kubernetes.io/zone"
HOSTNAME: Final = "kubernetes.io/hostname"

MANAGED_SELECTOR: Final = f"{MANAGED_BY}={MANAGED_BY_VALUE}"
"""The label selector that limits every list and watch of owned kinds to our own objects."""


def by_people(annotations: Mapping[str, str] | None) -> dict[str, str]:
    """The annotations of our group that people set."""
    prefix = f"{naming.GROUP}/"
    found = {k: v for k, v in (annotations or {}).items() if k.startswith(prefix) and k not in OPERATOR_ANNOTATIONS}
    return dict(sorted(found.items()))


def server_labels(server: str, component: str | None = None) -> dict[str, str]:
    """Labels of an object that belongs to a server; a full server name (<= 63) fits a label value."""
    labels = {MANAGED_BY: MANAGED_BY_VALUE, SERVER: server}
    if component is not None:
        labels[COMPONENT] = component
    return labels


def tenant_labels(server: str, tenant: str, component: str | None = None) -> dict[str, str]:
    """Labels of an object that belongs to one tenant on a server."""
    return {**server_labels(server, component), TENANT: tenant}


def component_selector(component: str) -> dict[str, str]:
    """The pod selector of one component within a server's namespace."""
    return {COMPONENT: component}
