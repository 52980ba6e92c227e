"""Where the cluster runs: kind when a Docker daemon answers, native otherwise, or one that is already there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from hack.cluster import sandbox
from hack.cluster.config import Cluster, past_proxy
from hack.cluster.existing import Existing
from hack.cluster.images import Image
from hack.cluster.kind import Kind
from hack.cluster.kubectl import Kubectl
from hack.cluster.native import Native
from hack.cluster.steps import StepError, Steps, succeeds, write_atomic

NAMES = ("native", "kind", "existing")


class Backend(Protocol):
    """What each way of having a cluster can do. All of it may be repeated."""

    name: str

    @property
    def kubectl(self) -> Kubectl:
        """kubectl bound to the cluster."""
        ...

    @property
    def helm(self) -> Path:
        """The helm program."""
        ...

    def up(self) -> None:
        """Bring the cluster and its add-ons up."""
        ...

    def images(self, wanted: Iterable[Image]) -> dict[str, str]:
        """Build images and make the cluster able to run them; name → reference."""
        ...

    def down(self) -> None:
        """Remove the cluster; of an existing one only our notes: what was installed there stays."""
        ...

    def status(self) -> int:
        """Print its state; 0 when all is well."""
        ...

    def facts(self) -> dict[str, object]:
        """Additions to `facts.json`."""
        ...


def choose(cluster: Cluster, environment: Mapping[str, str], docker: bool | None = None) -> str:
    """The back end's name: that of the cluster that is there, else what CLUSTER says, else kind when Docker answers.

    `ValueError` for a name that is none, `StepError` when CLUSTER says another one than is there: its kubeconfig and
    notes would be overwritten, and nothing would find it any more to remove it.
    """
    asked = environment.get("CLUSTER", "")
    if asked and asked not in NAMES:
        raise ValueError(f"CLUSTER={asked}: it must be one of {', '.join(NAMES)}")
    recorded = read_facts(cluster).get("backend")
    # Notes are written when a cluster is up: of a native one whose start was interrupted there are only its parts.
    there = str(recorded) if recorded in NAMES else "native" if sandbox.exists(cluster) else ""
    if asked and there and asked != there:
        raise StepError(
            f"CLUSTER={asked}: a cluster '{cluster.name}' is there already and is {there}",
            advice=f"Remove it first (unset CLUSTER; make down CLUSTER_NAME={cluster.name}), "
            f"or give the other one a name of its own: make up CLUSTER={asked} CLUSTER_NAME=other",
        )
    if asked or there:
        return asked or there
    answers = succeeds("docker", "info") if docker is None else docker
    return "kind" if answers else "native"


def make(cluster: Cluster, steps: Steps, environment: Mapping[str, str] | None = None) -> Backend:
    """The back end of this cluster."""
    environment = os.environ if environment is None else environment
    try:
        name = choose(cluster, environment)
    except ValueError as error:
        raise StepError(str(error)) from error
    if name == "existing":
        return Existing(cluster, steps, environment)
    return Kind(cluster, steps) if name == "kind" else Native(cluster, steps)


def read_facts(cluster: Cluster) -> dict[str, object]:
    """`facts.json`; empty when there is none."""
    try:
        found: dict[str, object] = json.loads((cluster.state / "facts.json").read_text())
    except (OSError, ValueError):
        return {}
    return found


def record(cluster: Cluster, backend: Backend) -> None:
    """Write `facts.json` (for programs) and `env` (for a person's shell)."""
    facts = {
        "name": cluster.name,
        "backend": backend.name,
        "kubectl": str(backend.kubectl.program),
        "helm": str(backend.helm),
        "https_port": cluster.https_port,
        "mail_port": cluster.mail_port,
        **backend.facts(),
    }
    write_atomic(cluster.state / "facts.json", json.dumps(facts, indent=1) + "\n")
    folder = backend.kubectl.program.parent
    exempt = past_proxy(cluster, {})["NO_PROXY"]
    write_atomic(
        cluster.state / "env",
        f"# Use it with: . {cluster.state / 'env'}\n"
        f'export KUBECONFIG="{cluster.kubeconfig}"\nexport PATH="{folder}:$PATH"\n'
        f'export NO_PROXY="${{NO_PROXY:-${{no_proxy:-}}}},{exempt}"\nexport no_proxy="$NO_PROXY"\n',
    )
