"""The whole agent as a process in the router's namespace: changes, faults and restarts, seen by real packets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.netpol.builders import app, namespace, pod, policy
from tests.netpol.fakeapi import FakeApi, eventually
from tests.netpol.netlab import POD_CIDRS, Flow, Lab, inside

pytestmark = [pytest.mark.netns, pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")]

FOLDER = Path(__file__).parents[2] / "hack" / "cluster" / "netpol"
PODS = ("web", "client", "other")
IN_TIME = 2.0
"""Seconds, for the middle of several changes: a single one may have to wait for a busy machine."""
DENY = policy("deny", {"podSelector": app("web")})
ALLOW = policy("allow", {"podSelector": app("web"), "ingress": [{"from": [{"podSelector": app("client")}]}]})
REACHED, CONTROL = Flow("client", "web"), Flow("client", "other")


class Agent:
    """One agent process and the fake API server that it watches, both in the router's namespace."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder
        self.ready_file = folder / "ready"
        self.log = folder / "agent.log"
        with inside(lab.router):
            self.api = FakeApi()
        self.api.kubeconfig(folder / "kubeconfig")
        self.process: subprocess.Popen[bytes] | None = None
        self.api.put("namespaces", namespace("default"))
        self.api.put("namespaces", namespace("office", team="b"))
        for name in PODS:
            self.put_pod(name)

    def put_pod(self, name: str, **labels: str) -> int:
        space = "office" if name == "other" else "default"
        known = {"app": name, **labels}
        return self.api.put("pods", pod(name, *self.lab.addresses[name], namespace=space, labels=known))

    def start(self, *options: str, path: str = "") -> None:
        command = [sys.executable, "-I", str(FOLDER), "--kubeconfig", str(self.folder / "kubeconfig")]
        for cidr in POD_CIDRS:
            command += ["--pod-cidr", cidr]
        command += ["--ready-file", str(self.ready_file), *options]
        environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]}
        with inside(self.lab.router), self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log, env=environment)

    def wait_ready(self) -> None:
        eventually(self.ready_file.exists)

    def wait_for(self, kind: str, version: int) -> float:
        return eventually(lambda: int(self.status()["resourceVersions"][kind]) >= version)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ready_file.read_text())
        return found

    def end(self, *, kill: bool = False) -> int:
        assert self.process is not None
        (self.process.kill if kill else self.process.terminate)()
        code = self.process.wait(60)
        self.process = None
        return code

    def close(self) -> None:
        if self.process is not None:
            self.end(kill=True)
        self.api.close()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(*PODS) as lab:
        yield lab


@pytest.fixture
def agent(lab: Lab, tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(lab, tmp_path)
    yield agent
    agent.close()
    lab.nft("table inet elink_netpol\ndelete table inet elink_netpol\n")


def effective(lab: Lab, flow: Flow, passes: bool, since: float) -> float:
    """Wait until new connections of `flow` do (or do not) pass; how many seconds after `since` that began."""
    while True:
        asked = time.monotonic() - since
        if lab.passes([flow])[flow] == passes:
            return asked
        assert asked < 60, f"{flow} still {'refused' if passes else 'passes'}"


def test_policy_and_label_changes_are_effective_within_two_seconds(agent: Agent, lab: Lab) -> None:
    agent.start()
    agent.wait_ready()
    lab.expect({REACHED: True, CONTROL: True})
    api = agent.api
    changes: list[tuple[Any, Flow, bool]] = [
        (lambda: api.put("networkpolicies", DENY), REACHED, False),
        (lambda: api.put("networkpolicies", ALLOW), REACHED, True),
        (lambda: agent.put_pod("client", app="renamed"), REACHED, False),
        (lambda: agent.put_pod("client"), REACHED, True),
        (lambda: api.delete("networkpolicies", "allow", "default"), REACHED, False),
        (lambda: agent.put_pod("web", app="renamed"), REACHED, True),
        (lambda: agent.put_pod("web"), REACHED, False),
        (lambda: api.delete("networkpolicies", "deny", "default"), REACHED, True),
    ]
    delays = []
    for change, flow, passes in changes:
        start = time.monotonic()
        change()
        delays.append(effective(lab, flow, passes, start))
    assert sorted(delays)[len(delays) // 2] < IN_TIME, delays
    lab.expect({CONTROL: True})


def test_namespace_label_change_is_effective(agent: Agent, lab: Lab) -> None:
    team = {"namespaceSelector": {"matchLabels": {"team": "c"}}}
    agent.api.put("networkpolicies", policy("team", {"podSelector": app("web"), "ingress": [{"from": [team]}]}))
    agent.start()
    agent.wait_ready()
    flow = Flow("other", "web")
    lab.expect({flow: False, Flow("web", "other"): True})
    agent.api.put("namespaces", namespace("office", team="c"))
    effective(lab, flow, True, time.monotonic())


def test_typical_delay_from_change_to_kernel(agent: Agent, lab: Lab) -> None:
    agent.start()
    agent.wait_ready()
    delays = []
    for i in range(20):
        version = agent.api.put("networkpolicies", policy("p", {"podSelector": app(f"x{i % 2}")}))
        delays.append(agent.wait_for("networkpolicies", version))
    assert sorted(delays)[10] < 0.5, delays


def test_new_pod_is_refused_until_its_policies_are_loaded(agent: Agent, lab: Lab) -> None:
    agent.api.delete("pods", "client", "default")
    agent.api.put("networkpolicies", policy("deny-egress", {"podSelector": app("client"), "policyTypes": ["Egress"]}))
    agent.start()
    agent.wait_ready()
    # The pod runs already, but its address is not published yet: it must not get out in between.
    lab.expect({Flow("client", "other"): False, Flow("client", "outside"): False, Flow("web", "other"): True})
    agent.wait_for("pods", agent.put_pod("client"))
    lab.expect({Flow("client", "other"): False, Flow("client", "outside"): False, Flow("web", "client"): True})


def test_pods_are_closed_before_the_first_list(agent: Agent, lab: Lab) -> None:
    lab.expect({REACHED: True})
    agent.api.close()
    agent.start()
    eventually(lambda: "closed for pods" in agent.log.read_text())
    lab.expect({REACHED: False, Flow("node", "web"): True})
    assert not agent.ready_file.exists()


@pytest.mark.parametrize("fault", ["cut", "half event", "gone", "gone in stream", "errors"])
def test_changes_arrive_after_a_fault(agent: Agent, lab: Lab, fault: str) -> None:
    agent.start()
    agent.wait_ready()
    api = agent.api
    eventually(lambda: api.requests["watch networkpolicies"] == 1)
    api.silent = True
    api.put("networkpolicies", DENY)
    api.delete("pods", "other", "office")
    if fault == "gone":
        api.forget_history()
    elif fault == "errors":
        api.failures = [(500, ""), (503, ""), (429, "1")]
    api.silent = False
    error = {"code": 410, "message": "too old"} if fault == "gone in stream" else None
    api.cut(inside_an_event=fault == "half event", error=error)
    effective(lab, REACHED, False, time.monotonic())
    # The pod that vanished meanwhile is no longer known.
    effective(lab, CONTROL, False, time.monotonic())


def test_rules_stay_while_the_api_server_is_away(agent: Agent, lab: Lab) -> None:
    agent.api.put("networkpolicies", DENY)
    agent.start()
    agent.wait_ready()
    agent.api.close()
    lab.expect({REACHED: False, CONTROL: True})
    with inside(lab.router):
        back = FakeApi(agent.api.port, version=1000)
    for name in PODS:
        back.put("pods", pod(name, *lab.addresses[name], labels={"app": name}))
    back.put("namespaces", namespace("default"))
    # It has another history: what the agent saw last is long gone.
    back.forget_history()
    agent.api = back
    effective(lab, REACHED, True, time.monotonic())


def test_stop_kill_and_restart_never_open_the_rules(agent: Agent, lab: Lab) -> None:
    agent.api.put("networkpolicies", DENY)
    agent.start()
    agent.wait_ready()
    assert agent.end() == 0
    assert not agent.ready_file.exists()
    lab.expect({REACHED: False, CONTROL: True})
    agent.start()
    agent.wait_ready()
    assert agent.end(kill=True) == -9
    # What changed meanwhile is noticed at the next start; the rules of the dead agent hold until then.
    agent.api.put("networkpolicies", ALLOW)
    lab.expect({REACHED: False, CONTROL: True})
    agent.start()
    eventually(lambda: "generation=" in agent.log.read_text().rsplit("listed", 1)[-1])
    lab.expect({REACHED: True, Flow("other", "web"): False})


@pytest.mark.parametrize("busy", [False, True])
def test_flushed_rules_come_back(agent: Agent, lab: Lab, busy: bool) -> None:
    agent.api.put("networkpolicies", DENY)
    agent.start()
    agent.wait_ready()
    lab.expect({REACHED: False, CONTROL: True})
    lab.nft("flush ruleset")
    lab.expect({REACHED: True})
    start = time.monotonic()
    while lab.passes([REACHED])[REACHED]:
        assert time.monotonic() - start < 60
        if busy:
            agent.api.bookmark("pods")


def test_when_nft_fails_the_old_rules_stay_and_the_agent_gives_up_loudly(
    agent: Agent, lab: Lab, tmp_path: Path
) -> None:
    agent.api.put("networkpolicies", DENY)
    shim, broken = tmp_path / "bin", tmp_path / "broken"
    shim.mkdir()
    real = subprocess.run(["which", "nft"], capture_output=True, text=True, check=True).stdout.strip()
    (shim / "nft").write_text(
        f'#!/bin/sh\n[ "$1" = -f ] && [ -e {broken} ] && echo "no buffer space" >&2 && exit 1\nexec {real} "$@"\n'
    )
    (shim / "nft").chmod(0o755)
    agent.start("--max-failures", "4", path=str(shim))
    agent.wait_ready()
    broken.touch()
    agent.api.put("networkpolicies", ALLOW)
    eventually(lambda: "failure 2" in agent.log.read_text())
    broken.unlink()
    effective(lab, REACHED, True, time.monotonic())
    broken.touch()
    agent.api.delete("networkpolicies", "allow", "default")
    assert agent.process is not None
    assert agent.process.wait(60) == 3
    assert "no buffer space" in agent.log.read_text()
    lab.expect({REACHED: True, Flow("other", "web"): False})


def test_bursts_are_rendered_together(agent: Agent, lab: Lab) -> None:
    agent.start()
    agent.wait_ready()
    before = agent.log.read_text().count(" loaded ")
    version = 0
    for i in range(300):
        version = agent.api.put("networkpolicies", policy(f"p{i}", {"podSelector": app("web")}))
    agent.wait_for("networkpolicies", version)
    assert agent.log.read_text().count(" loaded ") - before < 100
    lab.expect({REACHED: False, CONTROL: True})


def test_bad_kubeconfig_is_said_at_once(agent: Agent) -> None:
    (agent.folder / "kubeconfig").write_text("{}")
    agent.start()
    assert agent.process is not None
    assert agent.process.wait(60) == 2
    assert "current context" in agent.log.read_text()
