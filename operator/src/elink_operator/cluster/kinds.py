"""The kinds that the operator reads or writes, and how their URLs are built."""

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from elink_operator import naming

Obj = dict[str, Any]
"""A Kubernetes object as JSON: `apiVersion`, `kind`, `metadata`, …"""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of the API: its group ("" for core), version, plural, kind and scope."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """`v1`, `apps/v1`, …"""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, *, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of a collection or an object; a namespaced kind without namespace means all of them."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root]
        if self.namespaced and namespace is not None:
            parts += ["namespaces", quote(namespace, safe="")]
        elif self.namespaced and name is not None:
            raise ValueError(f"{self.kind} {name} needs a namespace")
        parts.append(self.plural)
        if name is not None:
            parts.append(quote(name, safe=""))
        if subresource is not None:
            parts.append(subresource)
        return "/".join(parts)

    def __str__(self) -> str:
        return self.kind


TENANT: Final = Kind(naming.GROUP, naming.VERSION, "elinktenants", "ElinkTenant", namespaced=False)
SERVER: Final = Kind(naming.GROUP, naming.VERSION, "elinkservers", "ElinkServer", namespaced=False)
RESTORE: Final = Kind(naming.GROUP, naming.VERSION, "elinkrestores", "ElinkRestore", namespaced=False)
ERASURE: Final = Kind(naming.GROUP, naming.VERSION, "elinkerasures", "ElinkErasure", namespaced=False)
CHANGE: Final = Kind(naming.GROUP, naming.VERSION, "elinkchanges", "ElinkChange", namespaced=False)

NAMESPACE: Final = Kind("", "v1", "namespaces", "Namespace", namespaced=False)
SERVICE: Final = Kind("", "v1", "services", "Service")
SERVICE_ACCOUNT: Final = Kind("", "v1", "serviceaccounts", "ServiceAccount")
SECRET: Final = Kind("", "v1", "secrets", "Secret")
PVC: Final = Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
RESOURCE_QUOTA: Final = Kind("", "v1", "resourcequotas", "ResourceQuota")
LIMIT_RANGE: Final = Kind("", "v1", "limitranges", "LimitRange")
STATEFUL_SET: Final = Kind("apps", "v1", "statefulsets", "StatefulSet")
DEPLOYMENT: Final = Kind("apps", "v1", "deployments", "Deployment")
JOB: Final = Kind("batch", "v1", "jobs", "Job")
CRON_JOB: Final = Kind("batch", "v1", "cronjobs", "CronJob")
NETWORK_POLICY: Final = Kind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
PDB: Final = Kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
HPA: Final = Kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
HTTP_ROUTE: Final = Kind("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute")

POD: Final = Kind("", "v1", "pods", "Pod")
PV: Final = Kind("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)
EVENT: Final = Kind("", "v1", "events", "Event")
LEASE: Final = Kind("coordination.k8s.io", "v1", "leases", "Lease")

OURS: Final = (TENANT, SERVER, RESTORE)
"""Watched by kopf; every one of them is ours."""

OWNED: Final = (
    NAMESPACE,
    SERVICE,
    SERVICE_ACCOUNT,
    SECRET,
    PVC,
    RESOURCE_QUOTA,
    LIMIT_RANGE,
    STATEFUL_SET,
    DEPLOYMENT,
    JOB,
    CRON_JOB,
    NETWORK_POLICY,
    PDB,
    HPA,
    HTTP_ROUTE,
)
"""Made by the operator; watched by its informers, limited to objects labelled as managed by it."""

_BY_NAME: Final = {
    (kind.api_version, kind.kind): kind for kind in (*OURS, ERASURE, CHANGE, *OWNED, POD, PV, EVENT, LEASE)
}


def kind_of(obj: Obj) -> Kind:
    """The Kind of an object by its `apiVersion` and `kind`; KeyError when the operator does not know it."""
    return _BY_NAME[obj["apiVersion"], obj["kind"]]
