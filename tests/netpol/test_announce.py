"""The CNI plugin and the agent's end of it: a pod is guarded, and may talk, from its first packet on."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from hack.cluster.netpol.announce import Announcements
from hack.cluster.netpol.model import parse_pod
from hack.cluster.netpol.store import KINDS, PODS, Announcement, Key, Store
from tests.netpol.builders import app, pod, policy
from tests.netpol.netlab import Flow, Lab
from tests.netpol.test_agent import FOLDER, Agent
from tests.netpol.test_agent import PODS as LAB_PODS

PLUGIN = FOLDER / "cni.py"
KEY: Key = ("default", "client")
NEW = Announcement("uid-default-client", (ip_address("10.0.0.9"),))


def plugin(path: Path, *addresses: str, name: str = "client", uid: str | None = None, **more: str) -> Any:
    """Run the plugin as a container runtime does; give (exit code, answer)."""
    previous = {"cniVersion": "0.4.0", "ips": [{"version": "4", "address": f"{item}/24"} for item in addresses]}
    config = {"cniVersion": "0.4.0", "name": "n", "type": "elink-netpol", "socket": str(path), "prevResult": previous}
    uid = f"uid-default-{name}" if uid is None else uid
    environment = {
        "PATH": os.environ["PATH"],
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c1",
        "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={name};K8S_POD_UID={uid}",
        **more,
    }
    done = subprocess.run(
        [PLUGIN], input=json.dumps(config), env=environment, capture_output=True, text=True, check=False, timeout=30
    )
    return done.returncode, json.loads(done.stdout or "null")


def put_pod(store: Store, *ips: str, uid: str = "uid-default-client") -> None:
    obj = pod("client", *ips)
    obj["metadata"]["uid"] = uid
    store.put(PODS, KEY, parse_pod(obj), "1")


def addresses(store: Store) -> list[str]:
    return [str(address) for p in store.view()[1].world.pods for address in p.addresses]


@pytest.fixture
def store() -> Store:
    store = Store()
    for kind in KINDS:
        store.replace(kind, {}, "1")
    return store


class Renderer(threading.Thread):
    """Stands for the agent's loop: counts everything as loaded that a view has shown."""

    def __init__(self, store: Store) -> None:
        super().__init__(daemon=True)
        self.store, self.running = store, True

    def run(self) -> None:
        tick = -1
        while self.running:
            if self.store.wait(tick, 0.05):
                tick, view = self.store.view()
                self.store.loaded(view.generation)


@pytest.fixture
def renderer(store: Store) -> Iterator[Renderer]:
    renderer = Renderer(store)
    renderer.start()
    yield renderer
    renderer.running = False
    renderer.join()


@pytest.mark.usefixtures("renderer")
def test_announced_address_counts_before_the_api_has_it(store: Store) -> None:
    put_pod(store)
    assert addresses(store) == []
    assert store.announce(KEY, NEW, 5)
    assert addresses(store) == ["10.0.0.9"]
    put_pod(store, "10.0.0.9")
    put_pod(store, "10.0.0.10")
    assert addresses(store) == ["10.0.0.10"], "once the API agreed, the API is believed"


@pytest.mark.usefixtures("renderer")
def test_announcement_outlasts_the_old_address_of_a_restarted_sandbox(store: Store) -> None:
    put_pod(store, "10.0.0.8")
    assert store.announce(KEY, NEW, 5)
    put_pod(store, "10.0.0.8")
    assert addresses(store) == ["10.0.0.9"]


@pytest.mark.usefixtures("renderer")
def test_announcement_of_a_namesake_waits_for_the_right_pod(store: Store) -> None:
    put_pod(store, "10.0.0.9", uid="uid-of-the-former")
    start = time.monotonic()
    threading.Timer(0.2, lambda: put_pod(store)).start()
    assert store.announce(KEY, NEW, 5)
    assert time.monotonic() - start >= 0.2
    assert addresses(store) == ["10.0.0.9"]
    store.remove(PODS, KEY, "2")
    put_pod(store)
    assert addresses(store) == [], "a removed pod's announcement is gone with it"


def test_without_loaded_rules_the_announcement_fails_and_is_forgotten(store: Store) -> None:
    put_pod(store)
    assert not store.announce(KEY, NEW, 0.1)
    assert addresses(store) == []


@pytest.fixture
def server(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr("hack.cluster.netpol.announce.SECONDS", 0.3)
    server = Announcements(tmp_path / "cni.sock", store)
    server.start()
    yield tmp_path / "cni.sock"
    server.shutdown()
    server.server_close()


@pytest.mark.usefixtures("renderer")
def test_plugin_passes_the_result_on(store: Store, server: Path) -> None:
    put_pod(store)
    code, answer = plugin(server, "10.0.0.9")
    assert code == 0
    assert [item["address"] for item in answer["ips"]] == ["10.0.0.9/24"]
    assert addresses(store) == ["10.0.0.9"]
    # Older runtimes do not say the UID.
    assert plugin(server, "10.0.0.11", uid="")[0] == 0
    assert addresses(store) == ["10.0.0.11"]


@pytest.mark.usefixtures("renderer")
def test_plugin_says_why_a_pod_may_not_start(server: Path, tmp_path: Path) -> None:
    code, answer = plugin(server, "10.0.0.9", name="unknown")
    assert (code, answer["code"]) == (1, 11)
    assert "default/unknown" in answer["msg"]
    code, answer = plugin(tmp_path / "nobody", "10.0.0.9")
    assert (code, answer["code"]) == (1, 11)
    assert "does not answer" in answer["msg"]


def test_other_commands_need_no_agent(tmp_path: Path) -> None:
    assert plugin(tmp_path / "nobody", "10.0.0.9", CNI_COMMAND="DEL") == (0, None)
    assert plugin(tmp_path / "nobody", "10.0.0.9", CNI_COMMAND="CHECK") == (0, None)
    code, answer = plugin(tmp_path / "nobody", CNI_COMMAND="VERSION")
    assert code == 0
    assert "0.4.0" in answer["supportedVersions"]


def test_socket_is_for_root_only_and_survives_nonsense(server: Path) -> None:
    assert stat.S_IMODE(server.stat().st_mode) == 0o600
    for message in (
        b"nonsense\n",
        b"[]\n",
        b'{"uid": 1}\n',
        b'{"uid":"","namespace":"a","name":"b","addresses":["x"]}\n',
    ):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(server))
            connection.sendall(message)
            assert "not understood" in json.loads(connection.makefile("rb").readline())["error"]


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(*LAB_PODS) as lab:
        yield lab


@pytest.mark.netns
@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
def test_first_packets_of_a_pod_meet_its_policies(lab: Lab, tmp_path: Path) -> None:
    agent = Agent(lab, tmp_path)
    try:
        path = tmp_path / "cni.sock"
        agent.api.put("pods", pod("client", labels={"app": "client"}))
        spec = {
            "podSelector": app("client"),
            "policyTypes": ["Egress"],
            "egress": [{"to": [{"podSelector": app("web")}]}],
        }
        agent.api.put("networkpolicies", policy("web-only", spec))
        agent.start("--cni-socket", str(path))
        agent.wait_ready()
        flows = {Flow("client", "web"): True, Flow("client", "other"): False, Flow("client", "outside"): False}
        lab.expect({**dict.fromkeys(flows, False), Flow("web", "other"): True})
        assert plugin(path, *lab.addresses["client"])[0] == 0
        lab.expect(flows)
    finally:
        agent.close()
