"""Real packets: who reaches whom (R14). A positive control stands beside each refusal: a dead pod proves nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kubectl import Kubectl, eventually
from tests.support.live import Live

SHARED = "elink-srv-shared-1"
DEDICATED = "elink-srv-midori"


def service_ip(kubectl: Kubectl, namespace: str, name: str) -> str:
    return str(kubectl.json("get", "svc", "-n", namespace, name)["spec"]["clusterIP"])


@pytest.fixture(scope="module")
def stranger(live: Live) -> Iterator[tuple[str, str]]:
    """A pod in a namespace of no server, without any policy: the strongest outsider that a cluster user can make."""
    kubectl = live.kubectl
    namespace = "stranger"
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "stranger",
                "namespace": namespace,
                "labels": {"elink-lc.com/component": "web"},
            },
            "spec": {
                "automountServiceAccountToken": False,
                "containers": [
                    {
                        "name": "main",
                        "image": live.image("TENANT_APP"),
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["python3", "-m", "http.server", "8000"],
                    }
                ],
            },
        }
    )
    kubectl.run("wait", "-n", namespace, "pod/stranger", "--for=condition=Ready", "--timeout=60s")
    yield namespace, "stranger"
    kubectl.run("delete", "namespace", namespace, "--wait=false")


def targets(live: Live, namespace: str) -> list[tuple[str, str, int]]:
    """Every way to a server's app and database: by pod and by service."""
    kubectl = live.kubectl
    return [
        ("web pod", live.pod(namespace, "web")["status"]["podIP"], 8000),
        ("web pod metrics", live.pod(namespace, "web")["status"]["podIP"], 9000),
        ("web service", service_ip(kubectl, namespace, "web"), 80),
        ("worker pod metrics", live.pod(namespace, "worker")["status"]["podIP"], 9000),
        ("postgres pod", live.pod(namespace, "postgres")["status"]["podIP"], 5432),
        ("postgres service", service_ip(kubectl, namespace, "postgres"), 5432),
    ]


@pytest.mark.parametrize("server", [SHARED, DEDICATED])
def test_stranger_reaches_neither_app_nor_database(live: Live, stranger: tuple[str, str], server: str) -> None:
    gateway = live.kubectl.items("pods", "-n", "elink-gateway")[0]["status"]["podIP"]
    assert live.reaches(*stranger, gateway, 8443) or live.reaches(*stranger, gateway, 443), (
        "the stranger reaches nothing at all, so this test would prove nothing"
    )
    for what, address, port in targets(live, server):
        assert not live.reaches(*stranger, address, port), f"a stranger reaches {what} of {server}"


@pytest.mark.parametrize(("attacker", "victim"), [(SHARED, DEDICATED), (DEDICATED, SHARED)])
@pytest.mark.parametrize("component", ["web", "worker"])
def test_pods_of_another_server_reach_nothing(live: Live, attacker: str, victim: str, component: str) -> None:
    pod = live.pod(attacker, component)["metadata"]["name"]
    own = service_ip(live.kubectl, attacker, "postgres")
    assert live.reaches(attacker, pod, own, 5432), "the pod cannot even reach its own database"
    for what, address, port in targets(live, victim):
        assert not live.reaches(attacker, pod, address, port), f"{component} of {attacker} reaches {what} of {victim}"


@pytest.fixture(scope="module")
def listening_outside(live: Live) -> Iterator[list[tuple[str, str, int]]]:
    """The addresses of cloud metadata and of the documentation network, answering in the native cluster's own network.

    Without somebody who answers there, "not reached" proves nothing. Other clusters are not ours to change: none there.
    """
    network = Path("/var/run/netns") / live.network
    if not network.exists():
        yield []
        return
    enter = ["nsenter", f"--net={network}"]
    places = [("cloud metadata", "169.254.169.254", 80), ("outside (documentation address)", "198.51.100.1", 443)]
    listeners = []
    for _, address, port in places:
        subprocess.run([*enter, "ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
        command = [
            *enter,
            sys.executable,
            "-m",
            "http.server",
            str(port),
            "--bind",
            address,
            "--directory",
            "/var/empty",
        ]
        listeners.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    try:
        yield places
    finally:
        for listener in listeners:
            listener.terminate()
            listener.wait()
        for _, address, _ in places:
            subprocess.run([*enter, "ip", "address", "delete", f"{address}/32", "dev", "lo"], check=True)


@pytest.mark.parametrize("component", ["web", "worker"])
def test_tenant_pod_reaches_no_management_and_no_metadata(
    live: Live, component: str, stranger: tuple[str, str], listening_outside: list[tuple[str, str, int]]
) -> None:
    pod = live.pod(SHARED, component)["metadata"]["name"]
    kubectl = live.kubectl
    api = service_ip(kubectl, "default", "kubernetes")
    endpoint = kubectl.json("get", "endpoints", "kubernetes", "-n", "default")["subsets"][0]
    node_api = (endpoint["addresses"][0]["ip"], endpoint["ports"][0]["port"])
    operator = kubectl.items("pods", "-n", "elink-system")[0]["status"]["podIP"]
    open_to_strangers = [
        ("API server by service", api, 443),
        ("API server by node address", *node_api),
        ("kubelet", node_api[0], 10250),
        *listening_outside,
    ]
    for what, address, port in open_to_strangers:
        eventually(
            lambda a=address, p=port: live.reaches(*stranger, a, p),
            timeout=90,
            what=f"a pod without policies reaches {what}: else the refusal below would prove nothing",
        )
    for what, address, port in [
        *open_to_strangers,
        ("operator metrics", operator, 9000),
        ("operator webhook", operator, 9443),
    ]:
        assert not live.reaches(SHARED, pod, address, port), f"{component} reaches {what}"


def test_pods_have_no_api_token_and_no_way_to_write_their_root(live: Live) -> None:
    for component in ("web", "worker", "postgres"):
        pod = live.pod(SHARED, component)
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert not [v for v in spec.get("volumes", []) if "projected" in v]
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"]["drop"] == ["ALL"]


def test_namespace_refuses_pods_that_leave_their_box(live: Live) -> None:
    said = live.kubectl.refused(
        "run", "bad", "-n", SHARED, "--image=docker.io/elink/nothing", "--dry-run=server",
        "--overrides=" + json.dumps({"spec": {"hostNetwork": True}}),
    )  # fmt: skip
    assert "violates PodSecurity" in said


def test_gateway_reaches_the_app_over_tls(live: Live) -> None:
    for host in ("aozora.elink.localhost", "midori.elink.localhost"):
        status, headers, _ = live.get(host, "/login")
        assert status == 200
        assert "max-age" in headers["strict-transport-security"]


@pytest.mark.alone
def test_isolated_condition_comes_from_a_probe_and_turns_when_a_hole_is_made(live: Live) -> None:
    """A policy that opens the database to all is noticed by packets, not by reading policies."""
    kubectl = live.kubectl

    def isolated() -> str:
        conditions = kubectl.json("get", "es", "shared-1")["status"]["conditions"]
        return str(next(c["status"] for c in conditions if c["type"] == "Isolated"))

    eventually(lambda: isolated() == "True", timeout=90, what="Isolated=True")
    kubectl.apply(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "hole", "namespace": SHARED},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]},
        }
    )
    try:
        eventually(lambda: isolated() == "False", timeout=150, what="Isolated=False after a hole was made")
    finally:
        kubectl.run("delete", "networkpolicy", "hole", "-n", SHARED)
    eventually(lambda: isolated() == "True", timeout=150, what="Isolated=True after the hole was closed")
