"""Where the running cluster is, and how to talk to what runs on it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hack.cluster.binaries import program
from hack.cluster.config import Cluster
from hack.cluster.reach import Loopback
from tests.support.kubectl import Kubectl, eventually

CONNECT = """
import socket, sys
s = socket.socket(); s.settimeout(3)
try:
    s.connect((sys.argv[1], int(sys.argv[2])))
    print("reached")
except OSError as error:
    print("blocked", type(error).__name__)
"""


@dataclass(frozen=True)
class Live:
    """The cluster that `hack/cluster up --name NAME` made."""

    state: Path
    kubectl: Kubectl
    https_port: int
    mail_port: int
    network: str
    """Name of the network namespace that a native cluster has; other clusters have none of this name."""

    @classmethod
    def find(cls, root: Path, name: str) -> Live:
        """Read the state folder of cluster `name`; `AssertionError` with what to do when it is not up."""
        cluster = Cluster(name, root)
        assert cluster.kubeconfig.exists(), (
            f"no cluster '{name}' is up: run 'make up CLUSTER_NAME={name}' or 'make test-cluster'"
        )
        kubectl = Kubectl(program("kubectl"), cluster.kubeconfig)
        return cls(cluster.state, kubectl, cluster.https_port, cluster.mail_port, cluster.device)

    @property
    def ca(self) -> Path:
        """The CA certificate that signs the gateway's certificate."""
        return self.state / "ca.crt"

    def get(
        self, host: str, path: str = "/", *, method: str = "GET", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], str]:
        """One HTTPS request through the gateway, the certificate checked: (status, headers, body)."""
        connection = Loopback(host, self.https_port, self.ca, timeout=20)
        try:
            connection.request(method, path, headers={"Host": f"{host}:{self.https_port}", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()
        finally:
            connection.close()

    def wait_served(self, host: str) -> None:
        """Ready says that the gateway has accepted a tenant's route; it needs a moment more to follow it."""
        eventually(lambda: self.get(host, "/login")[0] == 200, timeout=60, what=f"the gateway serves {host}")

    def pod(self, namespace: str, component: str) -> dict[str, Any]:
        """A running pod of a server by its component label."""
        pods = self.kubectl.items("pods", "-n", namespace, "-l", f"elink-lc.com/component={component}")
        running = [p for p in pods if p["status"]["phase"] == "Running" and "deletionTimestamp" not in p["metadata"]]
        assert running, f"no running {component} pod in {namespace}"
        return running[0]

    def reaches(self, namespace: str, pod: str, host: str, port: int) -> bool:
        """Whether a TCP connection from inside a pod to host:port is accepted within three seconds."""
        out = self.kubectl.exec(namespace, pod, "python3", "-c", CONNECT, host, str(port)).strip()
        assert out.split()[0] in {"reached", "blocked"}, out
        return out == "reached"

    def image(self, which: str) -> str:
        """The image under test: OPERATOR, TENANT_APP, POSTGRES, BACKUP, PROMETHEUS."""
        for line in (self.state / "images.env").read_text().splitlines():
            key, _, value = line.partition("=")
            if key == f"{which}_IMAGE":
                return value
        raise AssertionError(f"{which}_IMAGE is not in {self.state / 'images.env'}")

    def psql(self, server: str, database: str, sql: str) -> str:
        """Run SQL as the superuser inside a server's own postgres pod; unaligned rows."""
        return self.kubectl.exec(
            f"elink-srv-{server}", "postgres-0", "psql", "-XAtq", "-v", "ON_ERROR_STOP=1",
            "-h", os.environ.get("ELINK_PG_SOCKET", "/var/run/postgresql"), "-U", "postgres", "-d", database, "-c", sql,
        )  # fmt: skip
