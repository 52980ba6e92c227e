"""Where a cluster keeps its things: one value per cluster name, from which every path, port and address follows."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GATEWAY_NODE_PORT = 30443
MAIL_NODE_PORT = 30025
BASE_DOMAIN = "elink.localhost"

_KNOWN = {"dev": 0, "test": 1}


def cache_dir() -> Path:
    """The folder for what is downloaded or built once and shared by all checkouts."""
    chosen = os.environ.get("ELINK_CACHE")
    return Path(chosen).expanduser().resolve() if chosen else Path.home() / ".cache" / "elink"


@dataclass(frozen=True)
class Cluster:
    """One cluster by name. `slot` (0-5) keeps ports and subnets of clusters on one host apart."""

    name: str
    root: Path = ROOT

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z]([a-z0-9-]{0,7}[a-z0-9])?", self.name):
            raise ValueError(f"cluster name {self.name!r}: at most 9 of a-z, 0-9 and '-', beginning with a letter")

    @property
    def slot(self) -> int:
        """0 for `dev`, 1 for `test`, 2-5 for any other name."""
        return _KNOWN.get(self.name, 2 + zlib.crc32(self.name.encode()) % 4)

    @property
    def state(self) -> Path:
        """The folder in the checkout that holds everything about this cluster."""
        return self.root / (".cluster" if self.name == "dev" else f".cluster-{self.name}")

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.state / "kubeconfig"

    @property
    def logs(self) -> Path:
        """Logs of steps and of node services."""
        return self.state / "logs"

    @property
    def pids(self) -> Path:
        """One file per host process: `<pid> <start time>`."""
        return self.state / "pids"

    @property
    def pki(self) -> Path:
        """Certificates and keys."""
        return self.state / "pki"

    @property
    def data(self) -> Path:
        """etcd, images, kubelet and volumes."""
        return self.state / "data"

    @property
    def device(self) -> str:
        """Name of the network namespace, of the host's end of the cable and of the cgroup; at most 15 bytes."""
        return f"elink-{self.name}"

    @property
    def https_port(self) -> int:
        """Port on 127.0.0.1 that leads to the gateway."""
        return self.slot * 10000 + 8443

    @property
    def mail_port(self) -> int:
        """Port on 127.0.0.1 that leads to the mail sink's API."""
        return self.slot * 10000 + 8025

    @property
    def host_ip(self) -> str:
        """The host's end of the cable."""
        return f"10.{200 + self.slot}.0.1"

    @property
    def node_ip(self) -> str:
        """The node's end of the cable: API server, node ports."""
        return f"10.{200 + self.slot}.0.2"

    @property
    def pod_cidr(self) -> str:
        """Addresses of pods: 254 of them, more than one node runs."""
        return f"10.{200 + self.slot}.64.0/24"

    @property
    def service_cidr(self) -> str:
        """Addresses of services."""
        return f"10.{200 + self.slot}.128.0/18"

    @property
    def api_service_ip(self) -> str:
        """Address of the service `kubernetes`: the first of the range."""
        return f"10.{200 + self.slot}.128.1"

    @property
    def dns_ip(self) -> str:
        """Address of the cluster's DNS service."""
        return f"10.{200 + self.slot}.128.10"

    @property
    def forwards(self) -> dict[int, tuple[str, int]]:
        """Port on 127.0.0.1 → address and port in the cluster's network."""
        return {self.https_port: (self.node_ip, GATEWAY_NODE_PORT), self.mail_port: (self.node_ip, MAIL_NODE_PORT)}


def past_proxy(cluster: Cluster, environment: Mapping[str, str]) -> dict[str, str]:
    """NO_PROXY with the cluster's own addresses added, in both spellings.

    A company's proxy cannot reach them, and kubectl, kubelets and the API server would ask it for them.
    """
    given = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    exempt = [item.strip() for item in given.split(",") if item.strip()]
    own = ("localhost", "127.0.0.1", f".{BASE_DOMAIN}", cluster.host_ip, cluster.node_ip, cluster.pod_cidr,
           cluster.service_cidr, ".svc", ".cluster.local")  # fmt: skip
    joined = ",".join([*exempt, *(item for item in own if item not in exempt)])
    return {"NO_PROXY": joined, "no_proxy": joined}
