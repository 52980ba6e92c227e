"""The journal tells the next process what the last one did."""

from __future__ import annotations

import resource
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from elink_app.worker import journal as module
from elink_app.worker.journal import Findings, Journal, journals, orphan

A, B, C, D = [("tenant-1", 7, recipient, 1) for recipient in range(4)]


def left(folder: Path) -> Findings:
    """What all orphans in the folder tell together."""
    told = Findings()
    for path in journals(folder):
        with orphan(path) as found:
            assert found is not None
            told.claimed |= found.claimed
            told.begun |= found.begun
            told.answered |= found.answered
            told.claiming |= found.claiming
    return told


def fill(journal: Journal) -> None:
    journal.claimed("tenant-1", 7, [(recipient, 1) for recipient in range(4)])
    journal.begun(B)
    journal.begun(C)
    journal.answered(C, "accepted", "250 ok é\n")


def test_what_is_left_behind(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    fill(journal)
    with orphan(journals(tmp_path)[0]) as found:
        assert found is None, "its owner lives"
    journal.settled([D])
    journal.close()
    told = left(tmp_path)
    assert told == Findings({A, D}, {B}, {C: ("accepted", "250 ok é\n")})
    assert journals(tmp_path) == []


def test_a_claim_that_was_not_seen_to_be_committed(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    moment = datetime(2026, 4, 1, 9, 0, 0, 123456, tzinfo=UTC)
    journal.claiming("tenant-1", 7, [(0, 1), (1, 1)], moment)
    journal.claiming("tenant-1", 7, [(2, 1), (3, 1)], moment)
    journal.claimed("tenant-1", 7, [(0, 1), (1, 1)])
    journal.settled([D])
    journal.close()
    assert left(tmp_path) == Findings({A, B}, claiming={C: moment, D: moment})


def test_a_settled_journal_leaves_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    fill(journal)
    journal.settled([A, B, C, D])
    assert journals(tmp_path)[0].stat().st_size == 0
    journal.close()
    assert journals(tmp_path) == []


def test_full_files_go_when_their_last_line_is_settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROTATE_BYTES", 10)
    journal = Journal(tmp_path)
    journal.claimed("tenant-1", 7, [(0, 1)])
    journal.settled([])
    journal.claimed("tenant-1", 7, [(1, 1)])
    assert len(journals(tmp_path)) == 2
    journal.settled([A])
    assert len(journals(tmp_path)) == 2
    journal.settled([B])
    journal.close()
    assert journals(tmp_path) == []


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_a_line_cut_by_the_kill(tmp_path: Path, cut: int) -> None:
    journal = Journal(tmp_path)
    fill(journal)
    journal.close()
    path = journals(tmp_path)[0]
    path.write_bytes(path.read_bytes()[: -cut or None])
    told = left(tmp_path)
    assert {A, D} <= told.claimed
    assert C in told.begun or C in told.claimed or told.answered[C][0] == "accepted"


def test_a_line_cut_by_a_full_disk_swallows_no_other(tmp_path: Path) -> None:
    """A body whose announcement was lost with the half line before it would be sent again after a kill."""
    journal = Journal(tmp_path)
    fill(journal)
    path = journals(tmp_path)[0]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, limits[1]))
    try:
        with pytest.raises(OSError, match="full"):
            journal.claimed("tenant-2", 8, [(recipient, 1) for recipient in range(100)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    journal.begun(D)
    journal.forget("tenant-2")
    journal.close()
    assert left(tmp_path) == Findings({A}, {B, D}, {C: ("accepted", "250 ok é\n")})


def test_garbage_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "x.journal").write_bytes(b'\xff\n[]\n{}\n["B"]\n["A",1]\n["C","t",7,[[1]]]\n["B","t",7,5,1]\n\n')
    assert left(tmp_path).begun == {("t", 7, 5, 1)}


def test_a_reader_that_fails_leaves_the_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    fill(journal)
    journal.close()
    with pytest.raises(RuntimeError), orphan(journals(tmp_path)[0]):
        raise RuntimeError
    assert left(tmp_path).begun == {B}


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys, os, signal; from pathlib import Path; from elink_app.worker.journal import Journal;"
        "j = Journal(Path(sys.argv[1])); j.begun(('tenant-1', 7, 1, 1)); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env={"PYTHONPATH": ":".join(sys.path)}, check=False
    )
    assert done.returncode == -9
    assert left(tmp_path).begun == {B}


def test_a_tenant_that_is_gone_leaves_no_line_and_takes_none_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path)
    fill(journal)
    journal.claimed("tenant-11", 7, [(0, 1), (1, 1)])
    with monkeypatch.context() as patch:
        patch.setattr(module, "_ROTATE_BYTES", 10)
        journal.settled([("tenant-11", 7, 1, 1)])
    journal.claimed("tenant-1", 8, [(5, 1)])
    journal.claimed("tenant", 8, [(5, 1)])
    journal.forget("tenant-1")
    assert b'"tenant-1"' not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    with orphan(journals(tmp_path)[0]) as found:
        assert found is None, "the new files are held as the old ones were"
    journal.close()
    assert left(tmp_path) == Findings({("tenant-11", 7, 0, 1), ("tenant-11", 7, 1, 1), ("tenant", 8, 5, 1)})


def test_forgetting_the_only_tenant_leaves_an_empty_file_that_goes_at_the_end(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    fill(journal)
    journal.forget("tenant-1")
    assert [path.stat().st_size for path in journals(tmp_path)] == [0]
    journal.claimed("tenant-2", 1, [(1, 1)])
    journal.settled([("tenant-2", 1, 1, 1)])
    journal.close()
    assert journals(tmp_path) == []
