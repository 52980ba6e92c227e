"""Bringing one generation back into an empty database and an empty folder, and comparing."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elink_backup import database, errors, folders, generations
from elink_backup.errors import BackupError
from elink_backup.generations import Snapshot
from elink_backup.job import Job
from elink_backup.repository import Contents, Repository
from elink_backup.unpack import look

_LISTED, _LISTED_BYTES = 20, 2500
"""A termination message has no room for more."""
_OTHERS = 10
_OF_THE_STORE = frozenset({errors.STORE_DAMAGED, errors.BACKUP_FAILED})
"""How restic's failure counts when a backup took away what it was about to read; the tenant's lock keeps no reader out,
as it is in a database that may be lost."""


def bring_back(job: Job, wanted: str, into_database: str, into_directory: Path) -> dict[str, Any]:
    """Restore, compare and say what came back: sizes in bytes, `made` as RFC 3339, `different` the first differences.

    The folder is made, and must be empty; one of the name `folders.restore_name` is this program's own, and what a
    killed run left in it goes first. `others`: names of the newest other generations, for when this one is damaged.
    Raises `BackupError`, `OSError`.
    """
    began = time.monotonic()
    _prepare(job, into_directory)
    store = Repository.of(job)
    everything = store.snapshots() if store.exists else []
    # What an earlier tenant of the same name left must not come back.
    own = [s for s in everything if s.tags.get("uid", job.uid) == job.uid]
    chosen = generations.choose(own, job.tenant, wanted)
    names = [s.name for s in reversed(generations.present(own, job.tenant))]
    if chosen is None:
        missing = BackupError(f"there is no generation {wanted} of {job.tenant} in the store", "GenerationMissing")
        missing.facts = {"others": names[:_OTHERS]}
        raise missing
    about = {"generation": chosen.name, "others": [name for name in names if name != chosen.name][:_OTHERS]}
    before = _state(store, everything)
    # Read once: a second pass costs its time, and a second copy its room.
    try:
        with database.filling(job, into_database) as dump:
            into_directory.mkdir(mode=0o700, exist_ok=True)
            contents = store.read(chosen, dump, into_directory)
    except BackupError as error:
        if error.reason in _OF_THE_STORE and _has_changed(store, before):
            words = f"a backup changed the store while generation {chosen.name} was read; it is read again"
            error = BackupError(words, errors.STILL_RUNNING)
        error.facts = about
        raise error
    different = _compare(job, contents, into_database, into_directory)
    tables = contents.manifest["tables"]
    return {
        **about,
        "made": chosen.made,
        "tables": len(tables),
        "rows": sum(int(rows) for rows, _ in tables.values()),
        "files": len(contents.files),
        "bytes": int(contents.manifest["dump"]["bytes"]) + sum(file.size for file in contents.files.values()),
        "seconds": round(time.monotonic() - began),
        "different": first_of(different),
    }


def _state(store: Repository, snapshots: Sequence[Snapshot]) -> tuple[frozenset[str], bool]:
    """What a backup changes before it removes data that only old generations use."""
    return frozenset(one.id for one in snapshots), store.location.has_locks()


def _has_changed(store: Repository, before: tuple[frozenset[str], bool]) -> bool:
    try:
        return _state(store, store.snapshots()) != before
    except (BackupError, OSError):
        return False


def first_of(texts: list[str]) -> list[str]:
    """The first of them, as many as the report has room for; never none of some."""
    room = _LISTED_BYTES
    for number, text in enumerate(texts[:_LISTED]):
        room -= len(text.encode(errors="replace"))
        if room < 0:
            return texts[:number] or [texts[0][:500]]
    return texts[:_LISTED]


def _prepare(job: Job, folder: Path) -> None:
    if folder.is_symlink():
        raise BackupError(f"{folder} is a symbolic link: a restore follows none")
    if folder.name == folders.restore_name(job.tenant) and folder.is_dir():
        clear(folder)
    if any(folder.iterdir()) if folder.is_dir() else folder.exists():
        raise BackupError(f"{folder} is not an empty folder: a restore goes into an empty one only")


def clear(folder: Path) -> None:
    """Empty a folder; it may be a mount and stays."""
    if folder.is_dir():
        for path in folder.iterdir():
            path.unlink() if path.is_file() or path.is_symlink() else shutil.rmtree(path)


def _compare(job: Job, contents: Contents, into_database: str, into_directory: Path) -> list[str]:
    wanted: database.Facts = {
        name: (int(rows), str(sum_)) for name, (rows, sum_) in contents.manifest["tables"].items()
    }
    different = database.differences(wanted, database.facts_of_database(job, into_database))
    found = {
        str(path.relative_to(into_directory)): look(path)
        for path in into_directory.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
    for name in sorted(contents.files.keys() | found.keys()):
        if contents.files.get(name) != found.get(name):
            different.append(f"file {name}")
    return different
