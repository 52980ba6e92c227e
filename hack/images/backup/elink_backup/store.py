"""Generations in one tenant's backup folder. A generation is a folder whose name is its UTC time; it appears whole."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_NAME = re.compile(r"\d{8}T\d{6}Z")
_FORMAT = "%Y%m%dT%H%M%SZ"
UNFINISHED = ".unfinished-"
MANIFEST = "manifest.json"
DUMP = "database.dump"
ARCHIVE = "files.tar.zst"


@dataclass(frozen=True)
class Generation:
    """One complete backup; `bytes` is the size of all its files."""

    name: str
    bytes: int

    @property
    def made(self) -> datetime:
        """When its backup began (UTC)."""
        return datetime.strptime(self.name, _FORMAT).replace(tzinfo=UTC)


def name_of(moment: datetime) -> str:
    """The folder name of a backup that begins at `moment`."""
    return moment.astimezone(UTC).strftime(_FORMAT)


def generations(folder: Path) -> list[Generation]:
    """The complete generations, oldest first. A folder without its manifest, or with a file missing, is not one."""
    return [
        Generation(path.name, sum(p.stat().st_size for p in path.iterdir()))
        for path in candidates(folder)
        if _complete(path)
    ]


def candidates(folder: Path) -> list[Path]:
    """Everything that is named like a generation, whole or damaged, oldest first. No folder means none."""
    if not folder.is_dir():
        return []
    return [p for p in sorted(folder.iterdir()) if _NAME.fullmatch(p.name) and not p.is_symlink() and p.is_dir()]


def check_facts(path: Path) -> None:
    """Compare a generation with its manifest, checksums included. Raises ValueError or OSError with the difference."""
    manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    for name, facts in manifest["files"].items():
        if file_facts(path / name) != facts:
            raise ValueError(f"{name} is not what was written")


def _complete(path: Path) -> bool:
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        return all((path / name).stat().st_size == facts["bytes"] for name, facts in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def publish(unfinished: Path, name: str) -> Path:
    """Make a finished folder a generation: everything on disk first, then one rename."""
    for path in unfinished.iterdir():
        _sync(path)
    _sync(unfinished)
    final = unfinished.parent / name
    unfinished.rename(final)
    _sync(final.parent)
    return final


def prune(folder: Path, keep: int) -> list[str]:
    """Remove the oldest complete generations beyond `keep` (at least 1); returns their names."""
    doomed = [g.name for g in generations(folder)[: -max(keep, 1)]]
    for name in doomed:
        # Renamed first: a removal that is cut short leaves rubbish, not a generation that looks whole.
        rubbish = folder / f"{UNFINISHED}old-{name}"
        (folder / name).rename(rubbish)
        shutil.rmtree(rubbish)
    return doomed


def clear_unfinished(folder: Path) -> None:
    """Remove what killed jobs left. The caller holds the folder's lock."""
    for path in folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(path)


def file_facts(path: Path) -> dict[str, Any]:
    """Size in bytes and SHA-256 (hex) of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while chunk := source.read(1 << 20):
            digest.update(chunk)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
