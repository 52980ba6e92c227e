"""The watches against a real API server, with the rights of rbac.yaml and no more."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from hack.cluster.netpol.kubeconfig import load
from hack.cluster.netpol.model import Policy, Port, Rule, World
from hack.cluster.netpol.store import KINDS, Store
from hack.cluster.netpol.watch import WATCHED, Watcher
from tests.netpol.fakeapi import eventually
from tests.support.apiserver import ROOT, ApiServer, running

pytestmark = pytest.mark.apiserver

RBAC = ROOT / "hack" / "cluster" / "netpol" / "rbac.yaml"
BINDING = ["create", "clusterrolebinding", "it", "--clusterrole=elink-netpol", "--user=user"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One of its own: it is killed, and its user gets rights."""
    with running(tmp_path_factory.mktemp("netpol-api")) as server:
        yield server


def create(server: ApiServer, path: str, kind: str, name: str, spec: dict[str, Any]) -> None:
    body = {"kind": kind, "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}
    body["apiVersion"] = "v1" if path.startswith("/api/") else "networking.k8s.io/v1"
    status, answer = server.request("POST", path, body)
    assert status == 201, answer


def test_follows_a_real_server_through_its_restart(server: ApiServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    store = Store()
    access = load(server.user_kubeconfig)
    watchers = [Watcher(access, kind, store) for kind in WATCHED]
    for watcher in watchers:
        watcher.start()

    def world() -> World:
        return store.view()[1].world

    def pods() -> set[str]:
        return {pod.name for pod in world().pods}

    try:
        eventually(lambda: caplog.text.count("HTTP 403") >= len(KINDS))
        server.apply_files(RBAC)
        server.kubectl.run(*BINDING)
        eventually(lambda: store.synced)
        assert "default" in {space.name for space in world().namespaces}

        server.kubectl.run("create", "serviceaccount", "default", check=False)
        container = {"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 80}]}
        create(server, "/api/v1/namespaces/default/pods", "Pod", "one", {"containers": [container]})
        spec = {"podSelector": {}, "egress": [{"ports": [{"port": 1, "endPort": 9}]}]}
        create(server, "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies", "NetworkPolicy", "p", spec)
        eventually(lambda: pods() == {"one"} and bool(world().policies))
        assert world().policies == (Policy("default", "p", ingress=(), egress=(Rule(None, (Port("TCP", 1, 9),)),)),), (
            "the server's own defaults are those that the parser assumes"
        )
        assert world().pods[0].ports == (("http", "TCP", 80),)

        server.kill()
        assert pods() == {"one"}
        server.start()
        server.request("DELETE", "/api/v1/namespaces/default/pods/one", {"gracePeriodSeconds": 0})
        create(server, "/api/v1/namespaces/default/pods", "Pod", "two", {"containers": [container]})
        eventually(lambda: pods() == {"two"})
        assert world().policies
    finally:
        for watcher in watchers:
            watcher.stopped.set()


def test_the_role_allows_nothing_else(server: ApiServer) -> None:
    server.apply_files(RBAC)
    server.kubectl.run(*BINDING, check=False)
    token = json.loads(server.user_kubeconfig.read_text())["users"][0]["user"]["token"]
    assert server.request("GET", "/api/v1/pods", token=token)[0] == 200
    for path in ("/api/v1/secrets", "/api/v1/configmaps", "/api/v1/nodes", "/apis/apps/v1/deployments"):
        assert server.request("GET", path, token=token)[0] == 403, path
    for method in ("DELETE", "POST"):
        path = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies"
        assert server.request(method, path, {"metadata": {}}, token=token)[0] == 403, method
