"""A full disk keeps no policy from being enforced: nothing on the way to the kernel is written to a disk."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import pytest

from hack.cluster.netpol import agent, filter
from hack.cluster.netpol.store import KINDS, Store

# Every write to it fails with "No space left on device".
FULL = Path("/dev/full")


def test_rules_reach_nft_without_a_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nft").write_text(f"#!/bin/sh\n[ $1 = -f ] && exec /bin/cat >{tmp_path}/seen\n")
    (tmp_path / "nft").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
    filter.load("table inet x\n")
    assert (tmp_path / "seen").read_text() == "table inet x\n"


def test_the_agent_goes_on_when_its_status_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loads: list[str] = []
    monkeypatch.setattr(filter, "present", lambda: True)
    monkeypatch.setattr(filter, "load", loads.append)
    store = Store()
    for kind in KINDS:
        store.replace(kind, {}, "1")
    ready = tmp_path / "ready"
    (tmp_path / "ready.part").symlink_to(FULL)
    with caplog.at_level(logging.WARNING):
        agent.Agent(store, ready, 3)._refresh(store.view()[1])
    assert len(loads) == 1
    assert not ready.exists()
    assert "No space left on device" in caplog.text
