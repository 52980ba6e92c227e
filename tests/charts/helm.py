"""helm as a user runs it: templates in, Kubernetes objects out."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from hack.cluster.binaries import bin_dir

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "elink"
NAMESPACE = "elink-system"
MONITORING_APIS = ("monitoring.coreos.com/v1/PodMonitor", "monitoring.coreos.com/v1/PrometheusRule")
PRODUCT_APIS = ("elink-lc.com/v1", "gateway.networking.k8s.io/v1")

Obj = dict[str, Any]


class Refused(AssertionError):
    """helm exited non-zero; the text is what the user reads."""


def run(*arguments: str, kubeconfig: Path | None = None) -> str:
    """Run helm; standard output, or Refused."""
    helm = bin_dir() / "helm"
    assert helm.exists(), "helm is missing: run 'python3 hack/cluster binaries'"
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig or "/dev/null")}
    done = subprocess.run([str(helm), *arguments], capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise Refused(done.stdout + done.stderr)
    return done.stdout


def template(values: Obj | None = None, *, apis: tuple[str, ...] = (), namespace: str = NAMESPACE) -> list[Obj]:
    """All objects of the chart with the given values; the hooks of `helm test` included."""
    arguments = ["template", "elink", str(CHART), "-n", namespace, "--set-json", json.dumps(values or {})]
    for api in apis:
        arguments += ["--api-versions", api]
    return [o for o in yaml.safe_load_all(run(*arguments)) if o]


def only(objects: list[Obj], kind: str, name: str) -> Obj:
    """The object of that kind and name."""
    found = [o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} objects {kind}/{name}"
    return found[0]


def pods(objects: list[Obj]) -> Iterator[tuple[str, Obj]]:
    """(name, pod template or Pod) of everything that runs."""
    for obj in objects:
        if obj["kind"] == "Pod":
            yield obj["metadata"]["name"], obj
        elif obj["kind"] in {"Deployment", "StatefulSet", "Job", "DaemonSet"}:
            yield obj["metadata"]["name"], obj["spec"]["template"]
