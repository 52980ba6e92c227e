"""What all our pods have in common: the restricted profile, no API token, the region."""

from typing import Any

from elink_operator.api.server import Resources
from elink_operator.settings import Settings

Obj = dict[str, Any]

USER_ID = 10001


def pod_security() -> Obj:
    """Pod-level half of the Pod Security profile `restricted`."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER_ID,
        "runAsGroup": USER_ID,
        "fsGroup": USER_ID,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Obj:
    """Container-level half of the profile, with a read-only root file system."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }


def pod_base(settings: Settings, service_account: str, region: str) -> Obj:
    """The fields of a PodSpec that do not depend on what the pod does."""
    spec: Obj = {
        "serviceAccountName": service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
    }
    if settings.region_node_label:
        spec["nodeSelector"] = {settings.region_node_label: region}
    if settings.priority_class:
        spec["priorityClassName"] = settings.priority_class
    if settings.image_pull_secret:
        spec["imagePullSecrets"] = [{"name": settings.image_pull_secret}]
    return spec


def resources(wanted: Resources) -> Obj:
    """`resources` of a container."""
    return wanted.dump()


def fixed_resources(cpu: str, memory: str, memory_limit: str) -> Obj:
    """`resources` of a short job: no CPU limit, so that a night's work ends sooner on an idle node."""
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory_limit}}


def env(values: dict[str, str]) -> list[Obj]:
    """Environment variables in a stable order."""
    return [{"name": name, "value": value} for name, value in sorted(values.items())]


def scratch(name: str = "tmp", *, size: str = "64Mi") -> Obj:
    """A small writable folder: the root file system is read-only."""
    return {"name": name, "emptyDir": {"sizeLimit": size}}


def secret_file(name: str, secret: str, *keys: str) -> Obj:
    """A volume with only the named keys of a Secret, readable by the pod's group."""
    items = [{"key": key, "path": key} for key in keys]
    return {"name": name, "secret": {"secretName": secret, "defaultMode": 0o440, "items": items}}


def secret_files(name: str, keys: dict[str, tuple[str, ...]]) -> Obj:
    """One volume with keys of several Secrets: Secret → its keys."""
    sources = [
        {"secret": {"name": secret, "items": [{"key": key, "path": key} for key in wanted]}}
        for secret, wanted in keys.items()
    ]
    return {"name": name, "projected": {"defaultMode": 0o440, "sources": sources}}


def claim(name: str) -> Obj:
    """A volume backed by the PersistentVolumeClaim of the same name."""
    return {"name": name, "persistentVolumeClaim": {"claimName": name}}


def http_probe(path: str, port: int, *, period: int, failures: int, timeout: int = 3) -> Obj:
    """A probe of one of our endpoints."""
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": timeout,
    }
