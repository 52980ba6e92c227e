"""API objects as a test writes them."""

from __future__ import annotations

from typing import Any

Obj = dict[str, Any]


def pod(
    name: str,
    *ips: str,
    namespace: str = "default",
    labels: dict[str, str] | None = None,
    ports: list[Obj] | None = None,
    **extra: Any,
) -> Obj:
    """`extra`: hostNetwork, phase, nodeName, deletionTimestamp, creationTimestamp."""
    meta: Obj = {"name": name, "namespace": namespace, "uid": f"uid-{namespace}-{name}", "labels": labels or {}}
    meta |= {key: extra.pop(key) for key in ("deletionTimestamp", "creationTimestamp") if key in extra}
    status: Obj = {"phase": extra.pop("phase", "Running")}
    if ips:
        status |= {"podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]}
    spec: Obj = {"containers": [{"name": "main", "ports": ports or []}], **extra}
    return {"metadata": meta, "spec": spec, "status": status}


def namespace(name: str, **labels: str) -> Obj:
    return {"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name, **labels}}}


def policy(name: str, spec: Obj, namespace: str = "default") -> Obj:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"podSelector": {}, **spec}}


def app(value: str) -> Obj:
    """A selector for the label app."""
    return {"matchLabels": {"app": value}}
