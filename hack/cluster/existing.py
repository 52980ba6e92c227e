"""A cluster that is already there: nothing of it is made or removed, only the product is installed.

It needs a Gateway API controller and the Gateway that the chart's values name, a default StorageClass, and a CNI that
enforces NetworkPolicies. Settings come from the environment:

KUBECONFIG      the cluster (its current context)
IMAGE_PREFIX    registry and folder that images are pushed to and pulled from, e.g. `registry.example/elink`
IMAGE_TAG       use already published images of this tag and build nothing
ELINK_VALUES    a values file of your own for the chart (host names, gateway, mail relay)
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hack.cluster import addons, tools
from hack.cluster.config import Cluster
from hack.cluster.imagebuild import Docker
from hack.cluster.images import REPOSITORY, Image
from hack.cluster.kubectl import Kubectl
from hack.cluster.steps import StepError, Steps, read, write_atomic


@dataclass
class Existing:
    """The user's own cluster."""

    cluster: Cluster
    steps: Steps
    environment: Mapping[str, str]
    name: str = "existing"

    @property
    def kubectl(self) -> Kubectl:
        """The user's kubectl with a copy of the current context only."""
        return Kubectl(tools.find("kubectl", self.steps), self.cluster.kubeconfig, self.steps)

    @property
    def helm(self) -> Path:
        """helm."""
        return tools.find("helm", self.steps)

    def up(self) -> None:
        """Check that the cluster is reachable and has what the product needs."""
        source = self.environment.get("KUBECONFIG", "")
        if not source and not self.cluster.kubeconfig.is_file():
            raise StepError("CLUSTER=existing needs KUBECONFIG", advice="Run: KUBECONFIG=… make up CLUSTER=existing")
        if source and Path(source) != self.cluster.kubeconfig:
            # The current context alone: a later change of it elsewhere must not lead commands to another cluster.
            text = read(tools.find("kubectl", self.steps), "config", "view", "--minify", "--flatten", "--raw",
                        env={"KUBECONFIG": source})  # fmt: skip
            write_atomic(self.cluster.kubeconfig, text, 0o600)
        with self.steps.step("Looking at the existing cluster", "existing"):
            if not self.kubectl.ok("get", "--raw", "/readyz"):
                raise StepError("the API server does not answer", advice="Check: kubectl get --raw /readyz")
            for what in missing(self.kubectl):
                self.steps.say(f"  the cluster lacks {what}")

    def images(self, wanted: Iterable[Image]) -> dict[str, str]:
        """References with IMAGE_TAG, or images built by Docker and pushed to IMAGE_PREFIX."""
        prefix = self.environment.get("IMAGE_PREFIX", "")
        tag = self.environment.get("IMAGE_TAG", "")
        if tag:
            return {image.name: f"{prefix or REPOSITORY}/{image.name}:{tag}" for image in wanted}
        if not prefix:
            raise StepError(
                "images must be somewhere that the cluster can pull from",
                advice="Set IMAGE_PREFIX=registry.example/elink (built and pushed by Docker), or IMAGE_TAG=…",
            )
        return Docker(self.steps, repository=prefix, push=True).ensure(wanted)

    def down(self) -> None:
        """Forget the cluster; what was installed is left, as removing it would remove customers' data."""
        if self.cluster.state.exists():
            shutil.rmtree(self.cluster.state)
        self.steps.say(
            "Only the local notes are removed. To remove the product from the cluster, erase its tenants first "
            "(docs/first-ten-minutes.md), then: helm uninstall -n elink-system elink"
        )

    def status(self) -> int:
        """Print nodes."""
        if not self.kubectl.ok("get", "--raw", "/readyz"):
            print("The API server does not answer.")
            return 1
        print(self.kubectl.read("get", "nodes", "-o", "wide"), end="")
        waiting = [line for line in addons.not_running(self.kubectl) if line.startswith("elink-")]
        print("All of elink's pods run." if not waiting else "Not running:\n  " + "\n  ".join(waiting))
        return 1 if waiting else 0

    def facts(self) -> dict[str, object]:
        """Nothing more."""
        return {}


def missing(kubectl: Kubectl) -> list[str]:
    """What the product needs and the cluster does not show."""
    found = []
    if not kubectl.ok("get", "crd", "httproutes.gateway.networking.k8s.io"):
        found.append("the Gateway API (HTTPRoute)")
    if "true" not in kubectl.read(
        "get", "storageclass", "-o",
        "jsonpath={.items[*].metadata.annotations.storageclass\\.kubernetes\\.io/is-default-class}", check=False,
    ):  # fmt: skip
        found.append("a default StorageClass")
    return found
