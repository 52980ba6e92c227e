"""The product on a cluster: images, charts, examples, and a table of what to do next."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from hack.cluster import images, reach, store
from hack.cluster.backend import Backend
from hack.cluster.config import BASE_DOMAIN, ROOT, Cluster
from hack.cluster.steps import StepError, Steps, wait_for, write_atomic

SYSTEM = "elink-system"
_VALUES = {"operator": "operator", "tenant-app": "tenantApp", "postgres": "postgres", "backup": "backup"}
_EXAMPLES = ("aozora", "midori")
"""Tenants of `examples/`."""
_READY_SECONDS = 300
_ANSWER_SECONDS = 60


def chart_values(references: Mapping[str, str], external_port: int, *, bundled: bool) -> dict[str, Any]:
    """Values of charts/elink: the images (`<repository>:<tag>` by name) and, of a cluster of ours, what it brings."""
    values: dict[str, Any] = {"image": {}}
    if bundled:
        values |= {
            "baseDomain": BASE_DOMAIN,
            "externalPort": external_port,
            "mail": {"bounceDomain": f"bounces.{BASE_DOMAIN}", "from": f"elink@{BASE_DOMAIN}"},
            "backup": store.VALUES,
        }
    for name, key in _VALUES.items():
        repository, _, tag = references[name].rpartition(":")
        values["image"][key] = {"repository": repository, "tag": tag}
    return values


def deploy(cluster: Cluster, backend: Backend, steps: Steps) -> None:
    """Install or upgrade everything, apply the examples, wait until they answer, print the table. Repeatable."""
    references = backend.images(images.PRODUCT)
    write_atomic(cluster.state / "images.env", images.environment(references))
    values = cluster.state / "values.json"
    # An existing cluster has a gateway, mail and store of its own: the chart's defaults and the user's values count.
    bundled = backend.name != "existing"
    write_atomic(values, json.dumps(chart_values(references, cluster.https_port, bundled=bundled), indent=1))
    _namespace(backend, steps)
    if bundled:
        backend.kubectl.apply_text(store.secret(cluster, SYSTEM))
    _helm(cluster, backend, steps, "elink-crds", values=[])
    _helm(cluster, backend, steps, "elink", values=[values, *_own_values()])
    _examples(backend, steps)
    tenants = _logins(backend)
    _addresses(cluster, steps, [t["url"] for t in tenants if t["name"] in _EXAMPLES and t["phase"] == "Active"])
    print(table(cluster, tenants, bundled=bundled))


def _own_values() -> list[Path]:
    """The user's own values file, which wins over ours."""
    own = os.environ.get("ELINK_VALUES", "")
    if own and not Path(own).is_file():
        raise StepError(f"ELINK_VALUES={own} is not a file")
    return [Path(own)] if own else []


def _namespace(backend: Backend, steps: Steps) -> None:
    with steps.step(f"Making the namespace {SYSTEM}", "namespace"):
        backend.kubectl.apply_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Namespace",
                    "metadata": {
                        "name": SYSTEM,
                        "labels": {
                            "pod-security.kubernetes.io/enforce": "restricted",
                            "elink-lc.com/role": "management",
                        },
                    },
                }
            )
        )


def _helm(cluster: Cluster, backend: Backend, steps: Steps, chart: str, values: list[Path]) -> None:
    with steps.step(f"Installing chart {chart}", f"helm-{chart}"):
        if backend.name != "existing":
            # A helm that was killed leaves its release pending and makes every later one refuse. We hold the cluster's
            # lock, so it is nobody's work in progress; on a cluster of other people that cannot be known.
            pending = f"owner=helm,name={chart},status in (pending-install,pending-upgrade,pending-rollback)"
            backend.kubectl.run("delete", "secret", "-n", SYSTEM, "-l", pending)
        steps.run(
            backend.helm, "--kubeconfig", cluster.kubeconfig, "upgrade", "--install", chart, ROOT / "charts" / chart,
            "--namespace", SYSTEM, "--wait", "--timeout", "4m",
            *(part for path in values for part in ("--values", path)),
            advice=f"Look at: kubectl get pods,events -n {SYSTEM}",
        )  # fmt: skip


def _examples(backend: Backend, steps: Steps) -> None:
    kubectl = backend.kubectl
    with steps.step("Applying examples/", "examples"):
        for path in sorted((ROOT / "examples").glob("*.yaml")):
            kubectl.apply_file(path)
    with steps.step("Waiting until both example tenants are Ready", "examples-wait"):
        try:
            tenants = [f"et/{name}" for name in _EXAMPLES]
            kubectl.run("wait", "--for=condition=Ready", *tenants, f"--timeout={_READY_SECONDS}s")
        except StepError as error:
            steps.say(kubectl.read("get", "es,et", "-o", "wide", check=False).rstrip())
            raise StepError(
                str(error), log=error.log, advice="Why each one waits: kubectl describe et; kubectl get es,et -o yaml"
            ) from error


def _addresses(cluster: Cluster, steps: Steps, urls: list[str]) -> None:
    """Wait until they answer: the gateway may take up a new pod some moments after Kubernetes calls it ready."""
    ours = [url for url in urls if reach.is_ours(cluster, url)]
    if not ours:
        return
    with steps.step("Waiting until their addresses answer", "addresses"):
        for url in ours:
            try:
                wait_for(
                    partial(reach.log_in_page_answers, url, cluster.state / "ca.crt"),
                    timeout=_ANSWER_SECONDS,
                    what=f"{url}/login answers 200",
                )
            except StepError as error:
                raise StepError(
                    str(error),
                    advice="Look at: kubectl logs -n elink-gateway deploy/traefik; kubectl describe httproute -A",
                ) from error


def _logins(backend: Backend) -> list[dict[str, str]]:
    """Per tenant: name, plan, url, phase, email."""
    found = []
    for tenant in json.loads(backend.kubectl.read("get", "et", "-o", "json"))["items"]:
        name = tenant["metadata"]["name"]
        secret = backend.kubectl.read(
            "get", "secret", f"elink-{name}-master", "-n", SYSTEM, "-o", "json", "--ignore-not-found", check=False
        )
        data = json.loads(secret)["data"] if secret.strip() else {}
        found.append(
            {
                "name": name,
                "plan": tenant["spec"]["plan"],
                "url": tenant.get("status", {}).get("url", ""),
                "phase": tenant.get("status", {}).get("phase", ""),
                "email": base64.b64decode(data.get("email", "")).decode(),
            }
        )
    return found


def table(cluster: Cluster, tenants: list[dict[str, str]], *, bundled: bool) -> str:
    """What a person needs next. The one-time links are secrets: the command that shows one is printed, not the link."""
    lines = ["", f"elink is up on cluster '{cluster.name}'.", ""]
    rows = [("TENANT", "PLAN", "ADDRESS", "MASTER ACCOUNT")]
    rows += [(t["name"], t["plan"], t["url"], t["email"]) for t in tenants]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines += ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    names = [t["name"] for t in tenants] or ["NAME"]
    logins = [
        f"kubectl get secret elink-{n}-master -n {SYSTEM} -o jsonpath='{{.data.setup-url}}' | base64 -d" for n in names
    ]
    down = "make down" + ("" if cluster.name == "dev" else f" CLUSTER_NAME={cluster.name}")
    lines += [
        "",
        f"  Use kubectl:       . {cluster.state.name}/env",
        "  First log-in:",
        *(f"    {login}; echo" for login in logins),
        *(_bundled(cluster) if bundled else ()),
        "  Look around:       kubectl get elink    kubectl describe et aozora",
        f"  Remove it all:     {down}" if bundled else f"  Forget it here:    {down}    (what is installed stays)",
        "",
    ]
    return "\n".join(lines)


def _bundled(cluster: Cluster) -> list[str]:
    return [
        f"  Trust the gateway: {cluster.state.name}/ca.crt is the authority; import it into your browser",
        f"  Mails sent:        http://127.0.0.1:{cluster.mail_port}/api/v1/messages",
    ]
