"""Process 1 of the node keeps its services running: real processes, without the namespaces around them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hack.cluster import init
from hack.cluster.init import Supervisor


@pytest.fixture
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    monkeypatch.setattr(init, "STATE", tmp_path)
    for folder in ("services", "logs"):
        (tmp_path / folder).mkdir()
    supervisor = Supervisor(tmp_path / "services")
    yield supervisor
    supervisor.stopping = True
    supervisor.tick()


def define(supervisor: Supervisor, name: str, script: str, **env: str) -> None:
    text = json.dumps({"argv": ["/bin/sh", "-c", script], "env": env})
    (supervisor.folder / f"{name}.json").write_text(text)


def until(supervisor: Supervisor, true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not happen"
        supervisor.tick()
        time.sleep(0.02)


def log(supervisor: Supervisor, name: str) -> str:
    path = supervisor.folder.parent / "logs" / f"{name}.log"
    return path.read_text() if path.exists() else ""


def test_a_service_runs_with_its_environment_and_log(supervisor: Supervisor) -> None:
    define(supervisor, "a", 'echo "hello $WHO"; exec sleep 60', WHO="you")
    until(supervisor, lambda: "hello you" in log(supervisor, "a"))
    assert os.getsid(supervisor.services["a"].pid) == supervisor.services["a"].pid


def test_a_service_that_dies_comes_back_and_slower_each_time(supervisor: Supervisor) -> None:
    define(supervisor, "a", "echo started; exit 1")
    until(supervisor, lambda: log(supervisor, "a").count("started") >= 3)
    service = supervisor.services["a"]
    until(supervisor, lambda: service.pid == 0)
    assert service.failures >= 3
    assert service.not_before - service.started > 1


def test_a_killed_service_comes_back(supervisor: Supervisor) -> None:
    define(supervisor, "a", "exec sleep 60")
    until(supervisor, lambda: "a" in supervisor.services and supervisor.services["a"].pid != 0)
    first = supervisor.services["a"].pid
    os.kill(first, 9)
    until(supervisor, lambda: supervisor.services["a"].pid not in (0, first))


def test_a_changed_definition_restarts_and_the_same_one_does_not(supervisor: Supervisor) -> None:
    define(supervisor, "a", "echo one; exec sleep 60")
    until(supervisor, lambda: "one" in log(supervisor, "a"))
    pid = supervisor.services["a"].pid
    define(supervisor, "a", "echo one; exec sleep 60")
    supervisor.tick()
    assert supervisor.services["a"].pid == pid
    define(supervisor, "a", "echo two; exec sleep 60")
    until(supervisor, lambda: "two" in log(supervisor, "a"))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_removed_definition_stops_even_the_deaf(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(init, "_GRACE", 0.2)
    define(supervisor, "a", "trap '' TERM; echo deaf; while true; do sleep 0.1; done")
    until(supervisor, lambda: "deaf" in log(supervisor, "a"))
    pid = supervisor.services["a"].pid
    (supervisor.folder / "a.json").unlink()
    supervisor.tick()
    assert supervisor.services == {}
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_one_bad_definition_does_not_stop_the_others(supervisor: Supervisor, capfd: pytest.CaptureFixture[str]) -> None:
    (supervisor.folder / "bad.json").write_text(json.dumps({"argv": ["/no/such/program"]}))
    (supervisor.folder / "worse.json").write_text("{")
    define(supervisor, "good", "echo fine; exec sleep 60")
    until(supervisor, lambda: "fine" in log(supervisor, "good"))
    assert "bad: " in capfd.readouterr().out
