"""`elink-files`: the switch of a restore among folders, killed before and after every step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = Path(__file__).resolve().parents[2] / "hack/images/backup"
# Runs the program and dies at its n-th step on the disk, before or after the step.
DYING = """
import os, shutil, sys
at, when = int(sys.argv.pop(1)), sys.argv.pop(1)
count = 0
def dying(real):
    def step(*a, **k):
        global count
        count += 1
        if count == at and when == "before":
            os._exit(137)
        real(*a, **k)
        if count == at:
            os._exit(137)
    return step
os.rename, os.mkdir, os.rmdir = dying(os.rename), dying(os.mkdir), dying(os.rmdir)
from elink_backup import files
sys.exit(files.main())
"""
OLD, NEW = {"a": "old", "sub/b": "old"}, {"a": "new"}
NEIGHBOURS = ("aozor", "aozora-2", ".kept-aozora-2", ".restore-aozora-2", ".restore-aozor")


def fill(folder: Path, content: dict[str, str]) -> None:
    folder.mkdir(parents=True)
    for name, text in content.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


def read(folder: Path) -> dict[str, str] | None:
    if not folder.is_dir():
        return None
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def tenants(tmp_path: Path) -> Path:
    """Old directory and restored folder of `aozora`, beside neighbours of almost that name."""
    folder = tmp_path / "tenants"
    fill(folder / "aozora", OLD)
    fill(folder / ".restore-aozora", NEW)
    for name in NEIGHBOURS:
        fill(folder / name, {"mine": name})
    return folder


def run(tenants: Path, *arguments: str, die: tuple[int, str] | None = None, **environ: str) -> tuple[int, Any]:
    message = tenants.parent / "message"
    message.unlink(missing_ok=True)
    program = ["-m", "elink_backup.files"] if die is None else ["-c", DYING, str(die[0]), die[1]]
    done = subprocess.run(
        [sys.executable, *program, *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROGRAMS), "ELINK_TENANT_ID": "aozora",
             "ELINK_TENANTS": str(tenants), "ELINK_TERMINATION_LOG": str(message), **environ},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, json.loads(message.read_text()) if message.exists() else done.stderr


def picture(tenants: Path) -> tuple[Any, Any, Any]:
    for name in NEIGHBOURS:
        assert read(tenants / name) == {"mine": name}
    return tuple(read(tenants / name) for name in ("aozora", ".restore-aozora", ".kept-aozora"))


def test_there_and_back_and_away(tenants: Path) -> None:
    code, said = run(tenants, "switch")
    assert (code, said["changed"], said["present"]) == (0, True, ["directory", "kept"]), said
    assert picture(tenants) == (NEW, None, OLD)
    assert run(tenants, "switch")[1]["changed"] is False
    code, said = run(tenants, "return")
    assert (code, said["changed"]) == (0, True)
    assert picture(tenants) == (OLD, NEW, None)
    assert run(tenants, "return")[1]["changed"] is False
    assert run(tenants, "switch")[0] == 0
    assert run(tenants, "clear", "--kept")[1]["changed"] is True
    assert run(tenants, "clear", "--kept")[1]["changed"] is False
    assert run(tenants, "clear", "--restore")[1]["changed"] is False
    assert picture(tenants) == (NEW, None, None)
    assert run(tenants, "return")[1]["changed"] is False, "what was cleared does not come back"
    assert picture(tenants) == (NEW, None, None)


def test_an_empty_folder_is_prepared_whatever_an_earlier_try_left(tenants: Path) -> None:
    for _ in range(2):
        assert run(tenants, "prepare")[0] == 0
        assert picture(tenants) == (OLD, {}, None)
        (tenants / ".restore-aozora" / "half").write_text("x")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("lost", [False, True])
def test_killed_at_any_step_it_is_finished_later(tenants: Path, when: str, lost: bool) -> None:
    if lost:
        run(tenants, "switch")
        run(tenants, "clear", "--kept")
        os.rename(tenants / "aozora", tenants / ".restore-aozora")
    before = {} if lost else OLD
    for action, after in (("switch", (NEW, None, before)), ("return", (before, NEW, None))):
        for step in (1, 2):
            code, _ = run(tenants, action, die=(step, when))
            assert code == 137
            code, said = run(tenants, action)
            assert code == 0, said
            assert picture(tenants) == after
            assert run(tenants, "return" if action == "switch" else "switch")[0] == 0
            if lost and action == "switch":
                (tenants / "aozora").rmdir()  # empty, as it was lost
        assert run(tenants, action)[0] == 0


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_clearing_that_was_killed_never_brings_half_of_it_back(tenants: Path, when: str) -> None:
    assert run(tenants, "switch")[0] == 0
    assert run(tenants, "clear", "--kept", die=(2, when))[0] == 137
    assert run(tenants, "return")[1]["changed"] is False
    assert picture(tenants) == (NEW, None, None)
    assert run(tenants, "clear", "--kept")[1]["changed"] is True
    assert not (tenants / ".gone-aozora").exists()


def test_nothing_restored_is_no_success(tenants: Path) -> None:
    run(tenants, "clear", "--restore")
    code, said = run(tenants, "switch")
    assert (code, said["result"]) == (1, "error")
    assert picture(tenants) == (OLD, None, None)


def test_an_older_kept_directory_is_not_overwritten(tenants: Path) -> None:
    assert run(tenants, "switch")[0] == 0
    fill(tenants / ".restore-aozora", {"a": "newer"})
    for action in ("switch", "return"):
        code, said = run(tenants, action)
        assert code == 1
        assert "clear it first" in said["message"]
    assert picture(tenants) == (NEW, {"a": "newer"}, OLD)


@pytest.mark.parametrize("content", [OLD, {}])
def test_an_empty_folder_that_a_move_kept_is_in_nobodys_way(tenants: Path, content: dict[str, str]) -> None:
    if not content:
        run(tenants, "switch")
        run(tenants, "clear", "--kept")
        os.rename(tenants / "aozora", tenants / ".restore-aozora")
        (tenants / "aozora").mkdir()
    (tenants / ".kept-aozora").mkdir()
    assert run(tenants, "return")[0] == 0, "a switch that did not begin"
    assert picture(tenants) == (content, NEW, None)
    (tenants / ".kept-aozora").mkdir()
    assert run(tenants, "switch")[0] == 0
    assert picture(tenants) == (NEW, None, content)
    assert run(tenants, "return")[0] == 0
    assert picture(tenants) == (content, NEW, None)


def test_an_empty_directory_that_the_app_made_meanwhile_is_in_nobodys_way(tenants: Path) -> None:
    assert run(tenants, "switch", die=(1, "after"))[0] == 137
    (tenants / "aozora").mkdir()
    assert run(tenants, "switch")[0] == 0
    assert picture(tenants) == (NEW, None, OLD)


@pytest.mark.parametrize("name", ["aozora", ".restore-aozora", ".kept-aozora"])
def test_links_are_not_followed(tenants: Path, name: str) -> None:
    elsewhere = tenants.parent / "elsewhere"
    fill(elsewhere, {"precious": "x"})
    if (tenants / name).exists():
        os.rename(tenants / name, tenants / "aside")
    os.symlink(elsewhere, tenants / name)
    for arguments in (("switch",), ("return",), ("clear", "--kept"), ("clear", "--restore")):
        run(tenants, *arguments)
        assert os.readlink(tenants / name) == str(elsewhere)
    assert run(tenants, "switch")[0] == 1
    os.symlink(tenants, tenants.parent / "link")
    assert run(tenants.parent / "link", "switch")[0] == 1
    assert read(elsewhere) == {"precious": "x"}


def test_links_inside_are_removed_as_links(tenants: Path) -> None:
    os.symlink(tenants / "aozora-2", tenants / ".restore-aozora" / "link")
    assert run(tenants, "clear", "--restore")[0] == 0
    assert picture(tenants) == (OLD, None, None)


@pytest.mark.parametrize("name", ["", ".", "..", "../aozora-2", "a/b", ".kept-aozora", "Aozora", "aozora\n", "a" * 41])
def test_what_is_no_id_is_refused(tenants: Path, name: str) -> None:
    code, said = run(tenants, "switch", ELINK_TENANT_ID=name)
    assert (code, said["result"]) == (2, "error")
    assert picture(tenants) == (OLD, NEW, None)


def test_a_missing_volume_is_no_empty_one(tenants: Path) -> None:
    code, said = run(tenants, "clear", "--kept", ELINK_TENANTS=str(tenants / "away"))
    assert (code, said["result"]) == (1, "error")
