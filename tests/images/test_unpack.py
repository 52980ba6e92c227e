"""Unpacking a snapshot's stream: what lies outside, links, modes and times, and a place that is full."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from elink_backup.errors import BackupError
from elink_backup.unpack import FileFacts, Unpacking, look


def member(name: str, kind: bytes = tarfile.REGTYPE, **values: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type = kind
    for key, value in {"mode": 0o640, "mtime": 1_700_000_000, **values}.items():
        setattr(made, key, value)
    return made


def put(unpacking: Unpacking, name: str, content: bytes = b"x", **values: object) -> FileFacts | None:
    return unpacking.put(name, member(name, **values), io.BytesIO(content))  # type: ignore[arg-type]


def test_a_pipe_holds_nothing_and_does_not_come_back(tmp_path: Path) -> None:
    unpacking = Unpacking(tmp_path)
    assert unpacking.put("pipe", member("pipe", tarfile.FIFOTYPE), None) is None
    unpacking.finish()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "/etc/outside", "", ".."])
def test_nothing_is_written_outside(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(BackupError) as refused:
        put(Unpacking(tmp_path / "in"), name)
    assert refused.value.reason == "StoreDamaged"
    assert [p.name for p in tmp_path.rglob("*")] == ["in"]


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    top, outside = tmp_path / "in", tmp_path / "out"
    top.mkdir()
    outside.mkdir()
    unpacking = Unpacking(top)
    unpacking.put("away", member("away", tarfile.SYMTYPE, linkname=str(outside)), None)
    put(unpacking, "away/x")
    with pytest.raises(BackupError):
        unpacking.finish()
    assert list(outside.iterdir()) == []


def test_a_file_is_written_once(tmp_path: Path) -> None:
    unpacking = Unpacking(tmp_path)
    put(unpacking, "a", b"first")
    with pytest.raises(BackupError):
        put(unpacking, "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first"


def test_what_comes_back_is_as_it_was(tmp_path: Path) -> None:
    unpacking = Unpacking(tmp_path)
    unpacking.put("空", member("空", tarfile.DIRTYPE, mode=0o500), None)
    said = put(unpacking, "空/a", b"content", mode=0o4755)
    linked = unpacking.put("link", member("link", tarfile.SYMTYPE, linkname="空/a"), None)
    unpacking.finish()
    assert said == FileFacts(7, hashlib.sha256(b"content").hexdigest()) == look(tmp_path / "空/a")
    assert linked == look(tmp_path / "link")
    assert os.readlink(tmp_path / "link") == "空/a"
    for path, mode in (("空", 0o500), ("空/a", 0o755)):
        found = (tmp_path / path).stat()
        assert (found.st_mode & 0o7777, found.st_mtime) == (mode, 1_700_000_000), path


def test_reading_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    unpacking = Unpacking(None)
    assert put(unpacking, "sub/a", b"12") == FileFacts(2, hashlib.sha256(b"12").hexdigest())
    unpacking.finish()
    assert list(tmp_path.iterdir()) == []


def test_a_full_place_is_told_from_a_broken_one(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(tmp_path)], check=True)
    try:
        with pytest.raises(BackupError) as refused:
            put(Unpacking(tmp_path), "big", bytes(1 << 20))
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert refused.value.reason == "ScratchFull"
