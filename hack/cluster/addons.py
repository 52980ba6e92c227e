"""What runs in the cluster before the product: DNS, volumes, metrics, gateway, mail sink, store of backups."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping, Sequence
from pathlib import Path

from hack.cluster import binaries, store
from hack.cluster.config import GATEWAY_NODE_PORT, MAIL_NODE_PORT, Cluster
from hack.cluster.kubectl import Kubectl
from hack.cluster.node import VOLUMES
from hack.cluster.pki import Pki
from hack.cluster.steps import Steps

_FOLDER = Path(__file__).resolve().parent / "manifests"
DEPLOYMENTS = (
    ("kube-system", "coredns"),
    ("kube-system", "local-path-provisioner"),
    ("kube-system", "metrics-server"),
    ("elink-gateway", "traefik"),
    ("elink-mail", "mailpit"),
    ("elink-backup-store", "store"),
)


def manifests(only: Sequence[str] = ()) -> list[Path]:
    """The templates in their order; `only` selects by the part of the name after the number."""
    found = sorted(_FOLDER.glob("*.yaml"))
    return [path for path in found if not only or path.stem.split("-", 1)[1] in only]


def render(path: Path, values: Mapping[str, str]) -> str:
    """A template with its `${NAME}` filled in; `KeyError` for a name that `values` lacks, `$$` is a dollar sign."""
    return string.Template(path.read_text()).substitute(values)


def values(cluster: Cluster, images: Mapping[str, str], pki: Pki, *, native: bool) -> dict[str, str]:
    """Everything that the templates may say. `images` by name; certificates in base64."""
    named = {f"{name.upper().replace('-', '_')}_IMAGE": reference for name, reference in images.items()}
    log_in = store.login(cluster)
    common = {
        "HTTPS_PORT": str(cluster.https_port),
        "GATEWAY_NODE_PORT": str(GATEWAY_NODE_PORT),
        "MAIL_NODE_PORT": str(MAIL_NODE_PORT),
        "GATEWAY_CRT": pki.encoded("gateway.crt"),
        "GATEWAY_KEY": pki.encoded("gateway.key"),
        "STORE_ACCESS_KEY": log_in["access-key"],
        "STORE_SECRET_KEY": log_in["secret-key"],
        **named,
    }
    if not native:
        return common
    return {
        **common,
        "DNS_IP": cluster.dns_ip,
        "VOLUMES": VOLUMES,
        "METRICS_SERVER_CRT": pki.encoded("metrics-server.crt"),
        "METRICS_SERVER_KEY": pki.encoded("metrics-server.key"),
        "KUBERNETES_CA": pki.encoded("kubernetes-ca.crt"),
    }


def install(
    kubectl: Kubectl,
    filled: Mapping[str, str],
    steps: Steps,
    *,
    only: Sequence[str] = (),
    gateway_api: Path | None = None,
) -> None:
    """Apply Gateway API and the add-ons; returns without waiting for their pods."""
    with steps.step("Installing the Gateway API and add-ons", "addons"):
        crds = gateway_api or binaries.program("standard.yaml")
        # Server-side: these definitions are larger than the annotation that a client-side apply would write.
        kubectl.apply_file(crds, "--server-side", "--force-conflicts")
        kinds = [f"crd/{kind}.gateway.networking.k8s.io" for kind in ("gatewayclasses", "gateways", "httproutes")]
        kubectl.run("wait", "--for=condition=Established", "--timeout=60s", *kinds)
        kubectl.apply_text("\n---\n".join(render(path, filled) for path in manifests(only)))


def wait(kubectl: Kubectl, steps: Steps, deployments: Sequence[tuple[str, str]] = DEPLOYMENTS) -> None:
    """Until every add-on is available and the Gateway is programmed."""
    with steps.step("Waiting for add-ons", "addons-wait"):
        for namespace, name in deployments:
            kubectl.run("-n", namespace, "rollout", "status", f"deployment/{name}", "--timeout=180s")
        kubectl.run("-n", "elink-gateway", "wait", "--for=condition=Programmed", "gateway/elink", "--timeout=60s")
        if ("kube-system", "metrics-server") in deployments:
            kubectl.run("wait", "--for=condition=Available", "apiservice/v1beta1.metrics.k8s.io", "--timeout=120s")


def not_running(kubectl: Kubectl) -> list[str]:
    """`namespace/pod: reason` of every pod that is neither running nor finished."""
    found = json.loads(kubectl.read("get", "pods", "-A", "-o", "json"))["items"]
    lines = []
    for pod in found:
        status = pod["status"]
        waiting = [
            state["state"]["waiting"].get("reason", "")
            for state in status.get("containerStatuses", [])
            if "waiting" in state.get("state", {})
        ]
        if waiting or status.get("phase") not in {"Running", "Succeeded"}:
            meta = pod["metadata"]
            lines.append(f"{meta['namespace']}/{meta['name']}: {', '.join(waiting) or status.get('phase')}")
    return lines
