"""etcd, API server, controller manager and scheduler as services of the node."""

from __future__ import annotations

from hack.cluster.config import Cluster
from hack.cluster.pki import Pki
from hack.cluster.services import PROGRAMS, STATE, Services
from hack.cluster.steps import Steps, write_atomic

_ETCD = "http://127.0.0.1:2379"
_PKI = STATE / "pki"


def api_url(cluster: Cluster) -> str:
    """The API server as the host and the node reach it."""
    return f"https://{cluster.node_ip}:6443"


def etcd_arguments() -> list[str]:
    """etcd on the node's loopback only; without fsync, as a development cluster may lose its last second."""
    return [
        str(PROGRAMS / "etcd"),
        f"--data-dir={STATE / 'data' / 'etcd'}",
        f"--listen-client-urls={_ETCD}",
        f"--advertise-client-urls={_ETCD}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--unsafe-no-fsync",
        "--auto-compaction-retention=5m",
        "--quota-backend-bytes=4294967296",
        "--log-level=warn",
    ]


def apiserver_arguments(cluster: Cluster) -> list[str]:
    """The API server, its certificates, and the aggregation layer for metrics-server."""
    return [
        str(PROGRAMS / "kube-apiserver"),
        f"--etcd-servers={_ETCD}",
        f"--advertise-address={cluster.node_ip}",
        "--secure-port=6443",
        f"--service-cluster-ip-range={cluster.service_cidr}",
        f"--tls-cert-file={_PKI / 'apiserver.crt'}",
        f"--tls-private-key-file={_PKI / 'apiserver.key'}",
        f"--client-ca-file={_PKI / 'kubernetes-ca.crt'}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=false",
        "--anonymous-auth=true",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={_PKI / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={_PKI / 'service-accounts.key'}",
        f"--kubelet-certificate-authority={_PKI / 'kubernetes-ca.crt'}",
        f"--kubelet-client-certificate={_PKI / 'apiserver-kubelet.crt'}",
        f"--kubelet-client-key={_PKI / 'apiserver-kubelet.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--requestheader-client-ca-file={_PKI / 'front-proxy-ca.crt'}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={_PKI / 'front-proxy.crt'}",
        f"--proxy-client-key-file={_PKI / 'front-proxy.key'}",
        "--profiling=false",
    ]


def controller_manager_arguments(cluster: Cluster) -> list[str]:
    """The controller manager; one node, so it hands out no pod ranges."""
    kubeconfig = STATE / "pki" / "controller-manager.kubeconfig"
    return [
        str(PROGRAMS / "kube-controller-manager"),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={_PKI / 'service-accounts.key'}",
        f"--root-ca-file={_PKI / 'kubernetes-ca.crt'}",
        f"--service-cluster-ip-range={cluster.service_cidr}",
        "--horizontal-pod-autoscaler-sync-period=10s",
        "--profiling=false",
    ]


def scheduler_arguments() -> list[str]:
    """The scheduler."""
    kubeconfig = STATE / "pki" / "scheduler.kubeconfig"
    return [
        str(PROGRAMS / "kube-scheduler"),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--profiling=false",
    ]


def start(cluster: Cluster, pki: Pki, steps: Steps) -> None:
    """Certificates, then the four services in their order; returns when the API server is ready."""
    services = Services(cluster)
    with steps.step("Making keys and certificates", "certificates"):
        pki.ensure_all()
        write_kubeconfigs(cluster, pki)
    with steps.step("Starting etcd and the API server", "control-plane"):
        (cluster.data / "etcd").mkdir(mode=0o700, parents=True, exist_ok=True)
        services.define("etcd", etcd_arguments())
        services.define("kube-apiserver", apiserver_arguments(cluster))
        services.wait_http("kube-apiserver", f"{api_url(cluster)}/readyz", ca=cluster.pki / "kubernetes-ca.crt")
        services.define("kube-controller-manager", controller_manager_arguments(cluster))
        services.define("kube-scheduler", scheduler_arguments())


def write_kubeconfigs(cluster: Cluster, pki: Pki) -> None:
    """One kubeconfig per component, and the administrator's in the state folder."""
    server = api_url(cluster)
    for stem in ("controller-manager", "scheduler", "kubelet", "kube-proxy", "netpol"):
        write_atomic(cluster.pki / f"{stem}.kubeconfig", pki.kubeconfig(stem, server), 0o600)
    write_atomic(cluster.kubeconfig, pki.kubeconfig("admin", server), 0o600)
