"""A real node of its own (namespaces, mounts, control groups, process 1), started and removed."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.cluster import cgroups, processes, sandbox, teardown
from hack.cluster.config import Cluster
from hack.cluster.sandbox import Sandbox
from hack.cluster.services import Services
from hack.cluster.steps import StepError, Steps, read, wait_for

pytestmark = pytest.mark.netns


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster name and a cache of this test alone; everything is removed afterwards."""
    monkeypatch.setenv("ELINK_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    cluster = Cluster("unit", tmp_path)
    yield cluster
    teardown.destroy(cluster, Steps(cluster.logs, out=io.StringIO()))


@pytest.fixture
def node(cluster: Cluster) -> Sandbox:
    """A started node."""
    node = Sandbox(cluster, Steps(cluster.logs, out=io.StringIO()))
    start(node)
    return node


def start(node: Sandbox) -> None:
    with node.steps.step("Starting", "start"):
        node.ensure_network()
        node.ensure_node()


def test_the_node_has_a_file_system_and_network_of_its_own(cluster: Cluster, node: Sandbox) -> None:
    mounted = Path("/proc/self/mountinfo").read_text()
    assert node.read("hostname").strip() == "elink-unit"
    assert node.read("cat", "/proc/1/comm").strip().startswith("python")
    node.read("touch", "/run/inside", "/var/inside")
    assert not Path("/run/inside").exists()
    assert not Path("/var/inside").exists()
    assert Path("/proc/self/mountinfo").read_text() == mounted, "the host sees none of the node's mounts"
    assert "eth0" in node.read("cat", "/proc/net/dev")
    assert node.read("cat", "/proc/sys/net/ipv4/ip_forward").strip() == "1"
    assert node.pid in cgroups.members(cluster.device)


def test_starting_twice_keeps_the_node(node: Sandbox) -> None:
    pid = node.pid
    start(node)
    assert node.pid == pid


def test_services_run_inside_and_end_with_the_node(cluster: Cluster, node: Sandbox) -> None:
    Services(cluster).define("beat", ["/bin/sh", "-c", "echo up in $(hostname); exec sleep 1000"])
    log = cluster.logs / "beat.log"
    wait_for(lambda: log.exists() and "up in elink-unit" in log.read_text(), timeout=60, what="the service runs")
    inside = cgroups.members(cluster.device)
    assert len(inside) >= 2
    pid = node.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not any(processes.start_time(p) for p in inside), timeout=60, what="all are gone")
    assert node.pid is None


def test_a_node_whose_pid_file_is_lost_is_replaced_not_doubled(cluster: Cluster, node: Sandbox) -> None:
    first = node.pid
    (cluster.pids / "node").unlink()
    start(node)
    assert node.pid not in (None, first)
    assert len(sandbox.node_processes(cluster)) == 2, "process 1 and its waiting parent"


def test_another_checkout_is_named_and_left_alone(cluster: Cluster, node: Sandbox, tmp_path: Path) -> None:
    other = Cluster("unit", tmp_path / "elsewhere")
    with pytest.raises(StepError, match="another checkout") as caught:
        sandbox.refuse_foreign(other)
    assert f"python3 {tmp_path}/hack/cluster down --name unit" in caught.value.advice
    with pytest.raises(StepError, match="another checkout"):
        teardown.destroy(other, Steps(tmp_path / "logs", out=io.StringIO()))
    assert node.pid is not None


def test_removal_leaves_nothing_and_says_what_it_cannot_remove(cluster: Cluster, node: Sandbox) -> None:
    Services(cluster).define("beat", ["/bin/sleep", "1000"])
    time.sleep(0.3)
    found = "\n".join(teardown.leftovers(cluster))
    for word in ("process", "control group", "network namespace", "interface", "folder"):
        assert word in found, f"the proof must see a {word} before it can say that there is none"
    teardown.destroy(cluster, Steps(cluster.logs, out=io.StringIO()))
    assert teardown.leftovers(cluster) == []
    assert not cluster.state.exists()


def test_removal_fails_loudly_when_something_stays(cluster: Cluster, node: Sandbox) -> None:
    stuck = cluster.data / "stuck"
    stuck.mkdir()
    read("mount", "-t", "tmpfs", "elink", stuck)
    holder = os.open(stuck, os.O_RDONLY)
    try:
        with pytest.raises(StepError, match=r"something is left:(.|\n)*mount "):
            teardown.destroy(cluster, Steps(cluster.logs, out=io.StringIO()))
    finally:
        os.close(holder)


def test_definitions_of_a_dead_node_are_not_started_again(cluster: Cluster, node: Sandbox) -> None:
    services = cluster.state / "services"
    (services / "old.json").write_text(json.dumps({"argv": ["/bin/sleep", "1000"]}))
    pid = node.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: node.pid is None, timeout=60, what="the node is gone")
    start(node)
    assert list(services.iterdir()) == []
