"""containerd, kubelet, kube-proxy and the NetworkPolicy agent as services of the node."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hack.cluster import binaries
from hack.cluster.config import Cluster
from hack.cluster.sandbox import Sandbox
from hack.cluster.services import PROGRAMS, STATE, Services
from hack.cluster.steps import Steps, read, wait_for, write_atomic

_CONFIG = STATE / "config"
_PKI = STATE / "pki"
_SOCKET = "/run/containerd/containerd.sock"
_CODE = "/run/elink/code"
_NETPOL_SOCKET = "/run/elink/netpol.sock"
_PLUGINS = ("ptp", "host-local", "loopback")
VOLUMES = "/var/lib/elink-volumes"


def containerd_config(pause_image: str) -> str:
    """containerd's TOML: runc with cgroupfs, our CNI folder, and no registry to ask."""
    return f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing",
]

[grpc]
  address = "{_SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause_image}"
  # Hosts that keep CAP_SYS_RESOURCE back refuse a lower score than one's own, and no pod would start.
  restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{_CONFIG / "cni-bin"}"
  conf_dir = "{_CONFIG / "cni"}"
"""


def cni_config(cluster: Cluster) -> dict[str, Any]:
    """Every pod on a cable of its own (`ptp`): all its packets are routed, so the policy agent sees them all.

    The agent's own plugin comes last: a pod starts when the rules for its address are loaded.
    """
    return {
        "cniVersion": "0.4.0",
        "name": cluster.device,
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/cni-addresses",
                    "ranges": [[{"subnet": cluster.pod_cidr}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "elink-netpol", "socket": _NETPOL_SOCKET},
        ],
    }


def kubelet_config(cluster: Cluster) -> dict[str, Any]:
    """The kubelet's configuration; thresholds that would evict pods on a developer's full disk are off."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(_PKI / "kubernetes-ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(_PKI / "kubelet-serving.crt"),
        "tlsPrivateKeyFile": str(_PKI / "kubelet-serving.key"),
        "containerRuntimeEndpoint": f"unix://{_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cluster.device}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDomain": "cluster.local",
        "clusterDNS": [cluster.dns_ip],
        "resolvConf": str(_CONFIG / "resolv.conf"),
        "podCIDR": cluster.pod_cidr,
        "maxPods": 200,
        "makeIPTablesUtilChains": False,
        "oomScoreAdj": 0,
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
        },
        "registerNode": True,
        "registryPullQPS": 0,
        "serializeImagePulls": False,
        "syncFrequency": "20s",
        "shutdownGracePeriod": "0s",
    }


def kube_proxy_config(cluster: Cluster) -> dict[str, Any]:
    """kube-proxy by nftables; it leaves the kernel's connection-tracking limits alone, they may be read-only."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": cluster.pod_cidr,
        "hostnameOverride": cluster.device,
        "metricsBindAddress": "127.0.0.1:10249",
        "healthzBindAddress": "127.0.0.1:10256",
        "nodePortAddresses": ["primary"],
        "oomScoreAdj": 0,
        "clientConnection": {"kubeconfig": str(_PKI / "kube-proxy.kubeconfig")},
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def write_configs(cluster: Cluster, pause_image: str) -> None:
    """All configuration files of the node's services."""
    folder = cluster.state / "config"
    write_atomic(folder / "containerd.toml", containerd_config(pause_image))
    write_atomic(folder / "cni" / "10-ptp.conflist", json.dumps(cni_config(cluster), indent=1))
    write_atomic(folder / "kubelet.json", json.dumps(kubelet_config(cluster), indent=1))
    write_atomic(folder / "kube-proxy.json", json.dumps(kube_proxy_config(cluster), indent=1))
    _link_plugins(folder / "cni-bin")
    write_atomic(folder / "resolv.conf", "# The cluster has no way out, so there is no name server to ask.\n")


def _link_plugins(folder: Path) -> None:
    """One folder with Debian's plugins and the agent's, as links that hold inside the node."""
    folder.mkdir(parents=True, exist_ok=True)
    targets = {name: f"/usr/lib/cni/{name}" for name in _PLUGINS} | {"elink-netpol": f"{_CODE}/netpol/cni.py"}
    for name, target in targets.items():
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(target)


def start_containerd(cluster: Cluster, sandbox: Sandbox, pause_image: str, steps: Steps) -> None:
    """containerd alone: images are imported before the kubelet wants them."""
    services = Services(cluster)
    with steps.step("Starting containerd", "containerd"):
        write_configs(cluster, pause_image)
        # The policy agent's plugin is a Python program: it must find the interpreter that runs this tool.
        path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
        services.define(
            "containerd", ["/usr/bin/containerd", "--config", str(_CONFIG / "containerd.toml")], {"PATH": path}
        )
        wait_for(
            lambda: "SERVING" in sandbox.read("ctr", "-a", _SOCKET, "version", check=False)
            or "Server:" in sandbox.read("ctr", "-a", _SOCKET, "version", check=False),
            timeout=30, what="containerd answers", log=services.log("containerd"),
        )  # fmt: skip


def start(cluster: Cluster, steps: Steps) -> None:
    """The policy agent first, so that no pod ever runs unguarded; then kube-proxy and the kubelet, until Ready."""
    services = Services(cluster)
    kubectl = (str(binaries.program("kubectl")), f"--kubeconfig={cluster.kubeconfig}")
    with steps.step("Starting the NetworkPolicy agent", "netpol-start"):
        steps.run(*kubectl, "apply", "-f", cluster.root / "hack" / "cluster" / "netpol" / "rbac.yaml")
        services.define(
            "netpol",
            [
                sys.executable, f"{_CODE}/netpol", "--kubeconfig", str(_PKI / "netpol.kubeconfig"),
                "--pod-cidr", cluster.pod_cidr, "--ready-file", str(STATE / "netpol.ready"),
                "--cni-socket", _NETPOL_SOCKET,
            ],
        )  # fmt: skip
        wait_for(
            (cluster.state / "netpol.ready").exists,
            timeout=30,
            what="the agent has loaded its rules",
            log=services.log("netpol"),
        )
    with steps.step("Starting kube-proxy and the kubelet", "node-start"):
        services.define("kube-proxy", [str(PROGRAMS / "kube-proxy"), f"--config={_CONFIG / 'kube-proxy.json'}"])
        began = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        started = services.define(
            "kubelet",
            [
                str(PROGRAMS / "kubelet"), f"--config={_CONFIG / 'kubelet.json'}",
                f"--kubeconfig={_PKI / 'kubelet.kubeconfig'}",
                f"--hostname-override={cluster.device}", f"--node-ip={cluster.node_ip}",
                "--root-dir=/var/lib/kubelet",
                "--node-labels=topology.kubernetes.io/region=jp,topology.kubernetes.io/zone=jp-1",
            ],
        )  # fmt: skip
        # A node that was killed is still called Ready by the API server until its new kubelet reports.
        since = began if started else ""
        wait_for(
            lambda: is_ready(read(*kubectl, "get", "node", cluster.device, "-o", "json", check=False), since),
            timeout=90,
            what="the node is Ready",
            log=services.log("kubelet"),
        )


def is_ready(node: str, since: str) -> bool:
    """Whether a Node (JSON text, may be empty) is Ready by a report not older than `since` (RFC 3339, UTC)."""
    conditions = json.loads(node)["status"].get("conditions", []) if node.strip() else []
    return any(c["type"] == "Ready" and c["status"] == "True" and c["lastHeartbeatTime"] >= since for c in conditions)
