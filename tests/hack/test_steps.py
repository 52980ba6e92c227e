"""What a person sees of a step, and files that are never half-written."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hack.cluster import cli
from hack.cluster.steps import StepError, Steps, locked, succeeds, wait_for, write_atomic


def test_a_step_tells_what_and_how_long(tmp_path: Path) -> None:
    out = io.StringIO()
    steps = Steps(tmp_path, out=out, every=0.05)
    with steps.step("Doing it", "doing"):
        time.sleep(0.12)
        wait_for(lambda: "so far" in out.getvalue(), timeout=60, what="it says that it is at work")
    lines = out.getvalue().splitlines()
    assert "Doing it …" in lines[0]
    assert "so far" in lines[1]
    took = re.search(r"Doing it: done in (\d+\.\d) s", lines[-1])
    assert took is not None
    assert float(took[1]) >= 0.1


def test_a_failed_command_names_its_log_and_last_words(tmp_path: Path) -> None:
    steps = Steps(tmp_path, out=io.StringIO())
    with pytest.raises(StepError) as caught, steps.step("Trying", "trying"):
        steps.run("sh", "-c", "echo first; echo the reason >&2; exit 3", advice="Do this.")
    assert caught.value.log == tmp_path / "trying.log"
    assert caught.value.advice == "Do this."
    assert "sh exited with 3" in str(caught.value)
    assert "the reason" in str(caught.value)
    assert "first\nthe reason" in (tmp_path / "trying.log").read_text()


def test_a_missing_program_is_a_failed_step(tmp_path: Path) -> None:
    steps = Steps(tmp_path, out=io.StringIO())
    with pytest.raises(StepError, match="Trying"), steps.step("Trying", "trying"):
        steps.run("/no/such/program")
    assert not succeeds("/no/such/program")


def test_standard_input_reaches_the_command(tmp_path: Path) -> None:
    steps = Steps(tmp_path, out=io.StringIO())
    with steps.step("Feeding", "feed"):
        steps.run("cat", stdin="食べ物")
    assert "食べ物" in (tmp_path / "feed.log").read_text()


def test_wait_says_what_did_not_happen() -> None:
    with pytest.raises(StepError, match="the moon is blue: not so after 0 s"):
        wait_for(lambda: False, timeout=0.1, what="the moon is blue")


def test_write_atomic_reports_change_and_sets_the_mode(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "file"
    assert write_atomic(file, "one", 0o600)
    assert file.stat().st_mode & 0o777 == 0o600
    assert not write_atomic(file, "one", 0o600)
    assert write_atomic(file, "one", 0o644), "a wrong mode is mended"
    assert write_atomic(file, b"two")
    assert [p.name for p in file.parent.iterdir()] == ["file"]


def test_a_lock_is_freed_by_the_death_of_its_holder(tmp_path: Path) -> None:
    lock, ready = tmp_path / "lock", tmp_path / "ready"
    code = (
        "import sys,time; sys.path.insert(0, sys.argv[3]); from pathlib import Path\n"
        "from hack.cluster.steps import locked\n"
        "with locked(Path(sys.argv[1]), lambda: None):\n"
        "    Path(sys.argv[2]).touch(); time.sleep(60)\n"
    )
    root = Path(__file__).resolve().parents[2]
    holder = subprocess.Popen([sys.executable, "-c", code, str(lock), str(ready), str(root)])
    try:
        wait_for(ready.exists, timeout=60, what="the holder has the lock")
        waited: list[bool] = []

        def busy() -> None:
            waited.append(True)
            os.kill(holder.pid, 9)

        with locked(lock, busy):
            assert waited == [True]
    finally:
        holder.kill()
        holder.wait()


def test_what_the_file_system_refuses_is_told_like_any_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full disk, or a cache that another user's `sudo make up` has made."""
    (tmp_path / "cache").write_text("not a folder")
    monkeypatch.setenv("ELINK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLUSTER", "existing")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    assert cli.main(["up", "--name", "refused"]) == 1
    told = capsys.readouterr().err.splitlines()
    assert told[1].startswith("Failed: ")
    assert str(tmp_path / "cache") in told[1]
    assert told[-1].startswith("  Next:  ")
