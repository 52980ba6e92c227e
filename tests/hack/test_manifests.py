"""What is rendered for the cluster: add-ons, configuration files, arguments."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from hack.cluster import addons, controlplane, node
from hack.cluster.config import Cluster
from hack.cluster.images import ADDONS
from hack.cluster.pki import Pki
from hack.cluster.steps import Steps

CLUSTER = Cluster("test")
IMAGES = {image.name: f"docker.io/elink/{image.name}:dev-0" for image in ADDONS}


@pytest.fixture
def filled(tmp_path: Path) -> dict[str, str]:
    """The values of the templates, with any text for certificates."""
    cluster = Cluster("test", tmp_path)
    cluster.pki.mkdir(parents=True)
    for name in ("gateway.crt", "gateway.key", "metrics-server.crt", "metrics-server.key", "kubernetes-ca.crt"):
        (cluster.pki / name).write_text(name)
    return addons.values(cluster, IMAGES, Pki(cluster, Steps(tmp_path)), native=True)


def documents(filled: dict[str, str], *only: str) -> list[dict[str, Any]]:
    """The objects of the rendered templates."""
    return [d for path in addons.manifests(only) for d in yaml.safe_load_all(addons.render(path, filled)) if d]


def test_every_template_is_filled_completely(filled: dict[str, str]) -> None:
    found = documents(filled)
    text = json.dumps(found)
    assert "${" not in text
    for image in ADDONS:
        if image.name != "pause":
            assert IMAGES[image.name] in text
    deployed = {(d["metadata"]["namespace"], d["metadata"]["name"]) for d in found if d["kind"] == "Deployment"}
    assert deployed == set(addons.DEPLOYMENTS)


def test_a_missing_value_is_an_error(filled: dict[str, str]) -> None:
    del filled["DNS_IP"]
    with pytest.raises(KeyError, match="DNS_IP"):
        documents(filled)


def test_the_templates_of_kind_need_nothing_native(tmp_path: Path, filled: dict[str, str]) -> None:
    cluster = Cluster("test", tmp_path)
    common = addons.values(cluster, IMAGES, Pki(cluster, Steps(tmp_path)), native=False)
    kinds = {d["kind"] for d in documents(common, "gateway", "mail", "store")}
    assert {"Gateway", "Namespace", "Deployment"} <= kinds


def test_labels_that_policies_rely_on(filled: dict[str, str]) -> None:
    found = documents(filled)
    namespaces = {d["metadata"]["name"]: d["metadata"]["labels"] for d in found if d["kind"] == "Namespace"}
    assert namespaces["elink-gateway"]["elink-lc.com/role"] == "gateway"
    assert namespaces["elink-mail"]["elink-lc.com/role"] == "mail-relay"
    dns = next(d for d in found if d["kind"] == "Deployment" and d["metadata"]["name"] == "coredns")
    assert dns["spec"]["template"]["metadata"]["labels"]["k8s-app"] == "kube-dns"


def test_only_server_namespaces_may_attach_to_the_gateway(filled: dict[str, str]) -> None:
    gateway = next(d for d in documents(filled, "gateway") if d["kind"] == "Gateway")
    listeners = {listener["name"]: listener for listener in gateway["spec"]["listeners"]}
    assert set(listeners) == {"http", "https"}
    selector = listeners["https"]["allowedRoutes"]["namespaces"]["selector"]
    assert selector == {"matchExpressions": [{"key": "elink-lc.com/server", "operator": "Exists"}]}
    assert listeners["http"]["allowedRoutes"]["namespaces"] == {"from": "Same"}
    redirect = next(d for d in documents(filled, "gateway") if d["kind"] == "HTTPRoute")
    assert redirect["spec"]["rules"][0]["filters"][0]["requestRedirect"]["port"] == CLUSTER.https_port


def test_node_ports_are_those_that_the_host_forwards_to(filled: dict[str, str]) -> None:
    ports = {
        p["nodePort"]
        for d in documents(filled)
        if d["kind"] == "Service"
        for p in d["spec"]["ports"]
        if "nodePort" in p
    }
    assert ports == {inner for _, inner in CLUSTER.forwards.values()}


def test_containerd_uses_our_pause_image_and_plugins() -> None:
    config = tomllib.loads(node.containerd_config("docker.io/elink/pause:dev-0"))
    cri = config["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["sandbox_image"] == "docker.io/elink/pause:dev-0"
    assert cri["restrict_oom_score_adj"] is True
    assert cri["containerd"]["runtimes"]["runc"]["options"]["SystemdCgroup"] is False


def test_pods_start_only_behind_the_policy_plugin() -> None:
    plugins = node.cni_config(CLUSTER)["plugins"]
    assert [p["type"] for p in plugins] == ["ptp", "elink-netpol"]
    assert plugins[0]["ipam"]["ranges"] == [[{"subnet": CLUSTER.pod_cidr}]]


def test_kubelet_refuses_strangers() -> None:
    config = node.kubelet_config(CLUSTER)
    assert config["authentication"]["anonymous"]["enabled"] is False
    assert config["authorization"]["mode"] == "Webhook"
    assert config["cgroupRoot"] == "/elink-test"


def test_api_server_authorizes_and_keeps_etcd_inside() -> None:
    arguments = controlplane.apiserver_arguments(CLUSTER)
    assert "--authorization-mode=Node,RBAC" in arguments
    assert all("127.0.0.1" in a for a in controlplane.etcd_arguments() if "-urls=" in a)


def report(status: str) -> str:
    """A Node as the API gives it, with one report of its kubelet."""
    return json.dumps(
        {"status": {"conditions": [{"type": "Ready", "status": status, "lastHeartbeatTime": "2026-01-01T00:00:05Z"}]}}
    )


@pytest.mark.parametrize(
    ("text", "since", "ready"),
    [
        ("", "", False),
        ('{"status": {}}', "", False),
        (report("True"), "", True),
        (report("True"), "2026-01-01T00:00:05Z", True),
        (report("True"), "2026-01-01T00:00:06Z", False),
        (report("False"), "", False),
    ],
)
def test_a_report_of_a_former_kubelet_does_not_count(text: str, since: str, ready: bool) -> None:
    assert node.is_ready(text, since) is ready
