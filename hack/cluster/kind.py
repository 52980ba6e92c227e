"""The kind back end: a published node image in Docker, with DNS, volumes and a CNI that enforces NetworkPolicies."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hack.cluster import addons, tools
from hack.cluster.config import Cluster
from hack.cluster.imagebuild import Docker
from hack.cluster.images import ADDONS, Image
from hack.cluster.kubectl import Kubectl
from hack.cluster.pki import Pki
from hack.cluster.steps import StepError, Steps, read
from hack.cluster.versions import GATEWAY_API, METRICS_SERVER

GATEWAY_API_URL = (
    f"https://github.com/kubernetes-sigs/gateway-api/releases/download/v{GATEWAY_API}/standard-install.yaml"
)
METRICS_SERVER_URL = (
    f"https://github.com/kubernetes-sigs/metrics-server/releases/download/v{METRICS_SERVER}/components.yaml"
)
# kind's kubelets serve with certificates that no authority signed.
_INSECURE_KUBELETS = json.dumps(
    [{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--kubelet-insecure-tls"}]
)
_DEPLOYMENTS = (
    ("elink-gateway", "traefik"),
    ("elink-mail", "mailpit"),
    ("elink-backup-store", "store"),
    ("kube-system", "metrics-server"),
)


def config(cluster: Cluster) -> dict[str, Any]:
    """kind's cluster configuration: one node, in the region `jp`, its node ports on the host's loopback address."""
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "name": cluster.device,
        "networking": {"podSubnet": cluster.pod_cidr.replace("/24", "/18"), "serviceSubnet": cluster.service_cidr},
        "nodes": [
            {
                "role": "control-plane",
                "labels": {"topology.kubernetes.io/region": "jp", "topology.kubernetes.io/zone": "jp-1"},
                "extraPortMappings": [
                    {"containerPort": inner, "hostPort": outer, "listenAddress": "127.0.0.1", "protocol": "TCP"}
                    for outer, (_, inner) in cluster.forwards.items()
                ],
            }
        ],
    }


def addon_images() -> dict[str, str]:
    """The upstream images that stand in for our own builds."""
    return {image.name: image.published for image in ADDONS if image.published}


@dataclass
class Kind:
    """One kind cluster."""

    cluster: Cluster
    steps: Steps
    name: str = "kind"

    @property
    def kubectl(self) -> Kubectl:
        """kubectl with the cluster's kubeconfig."""
        return Kubectl(tools.find("kubectl", self.steps), self.cluster.kubeconfig, self.steps)

    @property
    def helm(self) -> Path:
        """helm."""
        return tools.find("helm", self.steps)

    @property
    def _kind(self) -> Path:
        return tools.find("kind", self.steps)

    def _exists(self) -> bool:
        return self.cluster.device in read(self._kind, "get", "clusters", check=False).split()

    def up(self) -> None:
        """Create the cluster unless it exists, then its add-ons."""
        cluster, steps = self.cluster, self.steps
        kind = self._kind
        cluster.state.mkdir(parents=True, exist_ok=True)
        # kind lists a cluster from its first container on; one whose creation was killed never gets a kubeconfig.
        unfinished = cluster.state / "kind-unfinished"
        if unfinished.exists():
            with steps.step("Removing the kind cluster whose creation was interrupted", "kind-delete"):
                steps.run(kind, "delete", "cluster", "--name", cluster.device)
        if not self._exists():
            with steps.step("Creating the kind cluster (pulls the node image the first time)", "kind-create"):
                file = cluster.state / "kind.json"
                file.write_text(json.dumps(config(cluster), indent=1))
                unfinished.touch()
                steps.run(
                    kind, "create", "cluster", "--config", file, "--kubeconfig", cluster.kubeconfig, "--wait", "180s",
                    advice=f"Look at it with: kind export logs --name {cluster.device}",
                )  # fmt: skip
                unfinished.unlink()
        else:
            with steps.step("Using the kind cluster that is there", "kind-export"):
                steps.run(kind, "export", "kubeconfig", "--name", cluster.device, "--kubeconfig", cluster.kubeconfig)
        cluster.kubeconfig.chmod(0o600)
        pki = Pki(cluster, steps)
        with steps.step("Making keys and certificates", "certificates"):
            pki.ensure_gateway()
        with steps.step("Installing the Gateway API and metrics-server", "addons-upstream"):
            self.kubectl.run("apply", "--server-side", "--force-conflicts", "-f", GATEWAY_API_URL)
            self._metrics_server()
        filled = addons.values(cluster, addon_images(), pki, native=False)
        with steps.step("Installing the gateway, the mail sink and the store of backups", "addons"):
            for path in addons.manifests(("gateway", "mail", "store")):
                self.kubectl.apply_text(addons.render(path, filled))
        addons.wait(self.kubectl, steps, _DEPLOYMENTS)

    def _metrics_server(self) -> None:
        arguments = self.kubectl.read(
            "-n", "kube-system", "get", "deployment", "metrics-server",
            "-o", "jsonpath={.spec.template.spec.containers[0].args}", check=False,
        )  # fmt: skip
        # There, but not patched yet: the run that applied it was killed.
        if "--kubelet-insecure-tls" in arguments:
            return
        self.kubectl.run("apply", "-f", METRICS_SERVER_URL)
        self.kubectl.run(
            "-n", "kube-system", "patch", "deployment", "metrics-server", "--type=json", "-p", _INSECURE_KUBELETS
        )

    def images(self, wanted: Iterable[Image]) -> dict[str, str]:
        """Build with Docker and load what the node lacks."""
        names = Docker(self.steps).ensure(wanted)
        if not self._exists():
            return names
        present = self._present()
        for name in names.values():
            if name not in present:
                with self.steps.step(f"Loading {name} into kind", "images-load"):
                    self.steps.run(self._kind, "load", "docker-image", name, "--name", self.cluster.device)
        return names

    def _present(self) -> set[str]:
        listing = read(
            "docker", "exec", f"{self.cluster.device}-control-plane", "crictl", "images", "-o", "json", check=False
        )
        return image_names(listing)

    def down(self) -> None:
        """Delete the cluster and its state folder; `StepError` when kind still lists it."""
        with self.steps.step(f"Deleting the kind cluster '{self.cluster.device}'", "kind-delete"):
            self.steps.run(self._kind, "delete", "cluster", "--name", self.cluster.device)
            if self._exists():
                raise StepError(f"kind still lists {self.cluster.device}")
        shutil.rmtree(self.cluster.state, ignore_errors=True)
        if self.cluster.state.exists():
            raise StepError(
                f"the kind cluster is gone, but {self.cluster.state} is left",
                advice=f"It holds files of another user: sudo rm -rf '{self.cluster.state}'",
            )

    def status(self) -> int:
        """Print nodes and pods that do not run."""
        if not self._exists():
            print(f"Cluster '{self.cluster.name}' is not running.")
            return 1
        print(self.kubectl.read("get", "nodes", "-o", "wide"), end="")
        waiting = addons.not_running(self.kubectl)
        print("All pods run." if not waiting else "Not running:\n  " + "\n  ".join(waiting))
        return 1 if waiting else 0

    def facts(self) -> dict[str, object]:
        """Nothing more."""
        return {}


def image_names(listing: str) -> set[str]:
    """Image references in `crictl images -o json`; empty for anything that is not JSON."""
    try:
        found: Mapping[str, Any] = json.loads(listing)
    except ValueError:
        return set()
    return {tag for image in found.get("images", []) for tag in image.get("repoTags") or []}
