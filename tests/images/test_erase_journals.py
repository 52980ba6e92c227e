"""`elink-erase-journals` takes one tenant's lines, exactly these, and no other line is lost whatever happens."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = Path(__file__).resolve().parents[2] / "hack/images/backup"
OTHERS = [["C", "aozora-2", 1, [[1, 1]]], ["B", "aozor", 1, 1, 1], ["A", "midori", 1, 1, 1, "accepted", "aozora"]]
MINE = [["C", "aozora", 7, [[1, 1], [2, 1]]], ["B", "aozora", 7, 1, 1], ["A", "aozora", 7, 1, 1, "accepted", "250"]]


def run(folder: Path, tenant: str = "aozora", patience: str = "0") -> tuple[int, dict[str, Any]]:
    message = folder.parent / "message"
    message.unlink(missing_ok=True)
    environment = {
        "PYTHONPATH": str(PROGRAMS),
        "ELINK_TENANT": tenant,
        "ELINK_JOURNALS": str(folder),
        "ELINK_PATIENCE_SECONDS": patience,
        "ELINK_TERMINATION_LOG": str(message),
    }
    done = subprocess.run([sys.executable, "-m", "elink_backup.journals"], env=environment, check=False)
    return done.returncode, json.loads(message.read_text())


def write(path: Path, lines: list[Any], tail: bytes = b"") -> None:
    path.write_bytes(b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines) + tail)


def read(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "journals"
    path.mkdir()
    return path


def test_exactly_one_tenants_lines_go(folder: Path) -> None:
    write(folder / "1-a.journal", [OTHERS[0], MINE[0], OTHERS[1], MINE[1], OTHERS[2], MINE[2]])
    write(folder / "2-b.journal", MINE, tail=b'["B","aozora",7')
    write(folder / "3-c.journal", OTHERS)
    before = (folder / "3-c.journal").stat().st_ino
    code, said = run(folder)
    assert (code, said["lines"], said["left"]) == (0, 7, [])
    assert read(folder / "1-a.journal") == OTHERS
    assert read(folder / "3-c.journal") == OTHERS
    assert (folder / "3-c.journal").stat().st_ino == before, "what is none of its business is not touched"
    assert sorted(path.name for path in folder.iterdir()) == ["1-a.journal", "3-c.journal"]
    code, again = run(folder)
    assert (code, again | {"looked_again": ""}) == (0, said | {"lines": 0, "looked_again": ""})


def test_a_journal_that_a_worker_holds_is_left_and_said_so(folder: Path) -> None:
    path = folder / "1-a.journal"
    write(path, [OTHERS[0], MINE[0]])
    with path.open("rb") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        code, said = run(folder)
        assert (code, said["left"]) == (1, ["1-a.journal"])
        assert read(path) == [OTHERS[0], MINE[0]]
    assert run(folder)[0] == 0
    assert read(path) == [OTHERS[0]]


def test_what_a_killed_run_left_is_found(folder: Path) -> None:
    write(folder / "1-a.journal.0011aabb.new", [MINE[0]])
    assert run(folder)[0] == 0
    assert list(folder.iterdir()) == []


def test_a_link_leads_nowhere(folder: Path) -> None:
    outside = folder.parent / "outside.journal"
    write(outside, MINE)
    os.symlink(outside, folder / "1-a.journal")
    assert run(folder)[0] == 0
    assert read(outside) == MINE


def test_a_missing_volume_is_no_empty_one(folder: Path) -> None:
    code, said = run(folder / "away")
    assert code == 1
    assert "not mounted" in said["message"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "Aozora", "aozora\n", "a" * 64, "-a", "*"])
def test_what_is_no_name_is_refused(folder: Path, name: str) -> None:
    write(folder / "1-a.journal", MINE)
    assert run(folder, name)[0] == 2
    assert read(folder / "1-a.journal") == MINE
