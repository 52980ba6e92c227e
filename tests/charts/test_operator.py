"""The operator with exactly the rights of the chart: it leads, is ready, makes a server, and `helm test` passes."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.charts import helm
from tests.charts.helm import NAMESPACE, ROOT
from tests.support.apiserver import ApiServer
from tests.support.kubectl import eventually
from tests.support.ports import free_port

pytestmark = pytest.mark.apiserver

PRELUDE = """
import socket
PORTS = {ports}
resolve = socket.getaddrinfo
def to_loopback(host, port, *rest, **more):
    if host in PORTS:
        host, port = "127.0.0.1", PORTS[host]
    return resolve(host, port, *rest, **more)
socket.getaddrinfo = to_loopback
"""


@dataclass(frozen=True)
class Operator:
    """A running operator process and where it listens."""

    log: Path
    metrics_port: int
    webhook_port: int

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}{path}", timeout=5) as answer:
            return str(answer.read().decode())


@pytest.fixture(scope="module")
def operator(installed: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    folder = tmp_path_factory.mktemp("operator")
    token = installed.kubectl.run("create", "token", "elink-operator", "-n", NAMESPACE).strip()
    config = yaml.safe_load(installed.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    (folder / "kubeconfig").write_text(json.dumps(config))
    secret = installed.kubectl.json("get", "secret", "elink-webhook", "-n", NAMESPACE)["data"]
    for name, value in secret.items():
        (folder / name).write_bytes(base64.b64decode(value))
    pod = dict(helm.pods(helm.template()))["elink-operator"]["spec"]["containers"][0]
    found = Operator(folder / "operator.log", free_port(), free_port())
    environment = {
        **os.environ,
        **{entry["name"]: entry["value"] for entry in pod["env"]},
        "PYTHONPATH": f"{ROOT / 'operator' / 'src'}:{ROOT}",
        "ELINK_KUBECONFIG": str(folder / "kubeconfig"),
        "ELINK_METRICS_PORT": str(found.metrics_port),
        "ELINK_WEBHOOK_PORT": str(found.webhook_port),
        "ELINK_WEBHOOK_CERT_DIR": str(folder),
    }
    command = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "elink_operator", *pod["command"][1:]]
    with found.log.open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
    try:
        eventually(lambda: found.get("/readyz"), timeout=60, what=f"readiness of the operator ({found.log})")
        yield found
    finally:
        process.terminate()
        process.wait(30)


def refusals(operator: Operator) -> list[str]:
    """Requests that the API server answered with 403."""
    lines = operator.get("/metrics").splitlines()
    return [line for line in lines if line.startswith("rest_client_requests_total") and 'code="403"' in line]


def test_it_takes_its_lease(operator: Operator, installed: ApiServer) -> None:
    eventually(lambda: "\nelink_leader 1.0" in operator.get("/metrics"), timeout=60, what="leadership")
    lease = installed.kubectl.json("get", "lease", "elink-operator", "-n", NAMESPACE)
    assert lease["spec"]["holderIdentity"]


def test_it_makes_a_server_with_all_that_belongs_to_it_and_is_never_forbidden(
    operator: Operator, installed: ApiServer
) -> None:
    kubectl = installed.kubectl
    kubectl.run("apply", "-f", str(ROOT / "examples" / "10-shared-server.yaml"))
    namespace = "elink-srv-shared-1"

    def made() -> bool:
        return bool(kubectl.items("statefulset", "-n", namespace, "postgres"))

    eventually(made, timeout=60, what=f"PostgreSQL of the server ({operator.log})")
    for kind, name in [
        ("networkpolicy", "default-deny"),
        ("resourcequota", "server"),
        ("limitrange", "defaults"),
        ("serviceaccount", "elink"),
        ("secret", "postgres-credentials"),
    ]:
        assert kubectl.items(kind, "-n", namespace, name), f"{kind}/{name}"
    assert refusals(operator) == []


def test_helm_test_passes_against_the_real_webhook(operator: Operator, installed: ApiServer) -> None:
    pod = helm.only(helm.template(), "Pod", "elink-test")["spec"]["containers"][0]
    ports = {
        f"elink-operator.{NAMESPACE}.svc": operator.metrics_port,
        f"elink-webhook.{NAMESPACE}.svc": operator.webhook_port,
    }
    authority = operator.log.parent / "ca.crt"
    script = pod["args"][0].replace("/etc/elink/webhook/ca.crt", str(authority))
    environment = {**os.environ, **{entry["name"]: entry["value"] for entry in pod["env"]}}

    def run(text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", text], capture_output=True, text=True, check=False, env=environment
        )

    done = run(PRELUDE.format(ports=ports) + script)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "webhook refuses:" in done.stdout
    assert "confirm-erasure" in done.stdout
    # The same question about a tenant that may be deleted is answered with yes: then `helm test` must fail.
    allowed = run(PRELUDE.format(ports=ports) + script.replace('"state": "Active"', '"state": "Cancelled"'))
    assert allowed.returncode != 0
    assert "allowed the deletion" in allowed.stderr
