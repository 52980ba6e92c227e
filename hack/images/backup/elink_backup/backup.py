"""`elink-backup`: back up one tenant (`run`), look at its generations (`list`), read them all (`verify`), bring one
back (`restore`).

Exit codes: 0 done, 1 failed (older generations are untouched), 2 wrong usage or environment.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from elink_backup import database, errors, generations
from elink_backup.errors import BackupError
from elink_backup.generations import Snapshot
from elink_backup.job import Job
from elink_backup.lock import alone
from elink_backup.report import jst, now, report
from elink_backup.repository import DUMP, MANIFEST, Contents, Repository

_LISTED = 20


def back_up(job: Job) -> Snapshot:
    """Make one generation and keep the newest `job.keep`. Raises `BackupError`; a failure displaces nothing."""
    store = Repository.of(job)
    with alone(job) as lock:
        started = now()
        store.ensure()
        lock.check()
        store.unlock()
        store.location.check_room()
        try:
            # The database first: a file that it names was there before it, and is there unless it was deleted since.
            _dump(job, started)
            name = generations.name_of(started)
            made = store.add(job.source, job.tags(name, started))
            store.read(made)
            store.check()
            lock.check()
            store.prove(made)
        finally:
            _clear(job.source / "database")
        found = store.snapshots()
        proven = generations.choose(found, job.tenant, name)
        if proven is None:
            raise BackupError(f"generation {name} was written but is not complete in the store", errors.STORE_DAMAGED)
        store.forget([s.id for s in generations.doomed(found, job.tenant, job.keep)])
        return proven


def _dump(job: Job, started: datetime) -> None:
    folder = job.source / "database"
    _clear(folder)
    folder.mkdir(exist_ok=True)
    if not (job.source / "files").is_dir():
        raise BackupError("the tenant's directory is not mounted", errors.FILES_UNREADABLE)
    target = job.source / DUMP
    database.dump(job, target)
    facts = database.facts_of_dump(target)
    if not facts:
        raise BackupError("the dump holds no table data: is the database migrated?")
    with target.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    manifest = {
        **job.tags("", started),
        "started": jst(started),
        "dump": {"bytes": target.stat().st_size, "sha256": digest},
        "tables": facts,
    }
    (job.source / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")


def _clear(folder: Path) -> None:
    """Empty a folder; it may be a mount and stays."""
    if folder.is_dir():
        for path in folder.iterdir():
            path.unlink() if path.is_file() or path.is_symlink() else shutil.rmtree(path)


def stored(job: Job) -> list[Snapshot]:
    """The tenant's generations in the store, oldest first."""
    store = Repository.of(job)
    return generations.present(store.snapshots(), job.tenant) if store.exists else []


def summary(job: Job, mine: Sequence[Snapshot]) -> dict[str, Any]:
    """What is in the store: number of generations, the newest one's time (RFC 3339, UTC) and all bytes."""
    return {
        "generations": len(mine),
        "newest": mine[-1].made if mine else None,
        "bytes": Repository.of(job).bytes() if mine else 0,
    }


def verify(job: Job) -> dict[str, str]:
    """Read every generation to its last byte: name → what is wrong (empty: nothing)."""
    store = Repository.of(job)
    found = {}
    for snapshot in stored(job):
        try:
            store.read(snapshot.id)
            found[snapshot.name] = ""
        except BackupError as error:
            found[snapshot.name] = str(error)[:200]
    return found


def restore(job: Job, wanted: str, into_database: str, into_directory: Path) -> dict[str, Any]:
    """Bring a generation back into an empty database and an empty folder, and compare. Raises `BackupError`."""
    began = time.monotonic()
    if any(into_directory.iterdir()) if into_directory.is_dir() else into_directory.exists():
        raise BackupError(f"{into_directory} is not an empty folder: a restore goes into an empty one only")
    store = Repository.of(job)
    chosen = generations.choose(store.snapshots(), job.tenant, wanted) if store.exists else None
    if chosen is None:
        raise BackupError(f"there is no generation {wanted} of {job.tenant} in the store", "GenerationMissing")
    contents = store.read(chosen.id)
    scratch = job.source / "database"
    scratch.mkdir(exist_ok=True)
    _clear(scratch)
    try:
        store.restore(chosen.id, "database", scratch)
        database.restore(job, job.source / DUMP, into_database)
    finally:
        _clear(scratch)
    into_directory.mkdir(exist_ok=True)
    store.restore(chosen.id, "files", into_directory)
    different = _compare(job, contents, into_database, into_directory)
    tables = contents.manifest["tables"]
    return {
        "generation": chosen.name,
        "tables": len(tables),
        "rows": sum(int(rows) for rows, _ in tables.values()),
        "files": len(contents.files),
        "seconds": round(time.monotonic() - began),
        "different": different[:_LISTED],
    }


def _compare(job: Job, contents: Contents, into_database: str, into_directory: Path) -> list[str]:
    wanted: database.Facts = {
        name: (int(rows), str(sum_)) for name, (rows, sum_) in contents.manifest["tables"].items()
    }
    different = database.differences(wanted, database.facts_of_database(job, into_database))
    found = {
        str(path.relative_to(into_directory)): path.lstat().st_size if not path.is_symlink() else 0
        for path in into_directory.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
    for name in sorted(contents.files.keys() | found.keys()):
        if contents.files.get(name) != found.get(name):
            different.append(f"file {name}")
    return different


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="elink-backup", description="Back up one tenant, or look at its generations.")
    actions = parser.add_subparsers(dest="action")
    actions.add_parser("run", help="make one generation (the default)")
    actions.add_parser("list", help="what is in the store")
    actions.add_parser("verify", help="read every generation to its last byte")
    back = actions.add_parser("restore", help="bring a generation back, into what is empty, and compare")
    back.add_argument("--generation", default="latest", help="such as 20260131T170000Z")
    back.add_argument("--into-database", required=True)
    back.add_argument("--into-directory", required=True, type=Path)
    arguments = parser.parse_args()
    # The first process of a container ignores signals that it does not handle.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        job = Job.from_environment(os.environ)
    except (KeyError, ValueError) as error:
        report(result="error", reason="WrongEnvironment", message=f"the environment is incomplete: {error}")
        return 2
    try:
        return _act(job, arguments)
    except BackupError as error:
        _report_failure(job, error.reason, str(error))
    except OSError as error:
        _report_failure(job, errors.store_reason(1, str(error)), str(error))
    return 1


def _act(job: Job, arguments: argparse.Namespace) -> int:
    if arguments.action == "list":
        mine = stored(job)
        report(result="listed", tenant=job.tenant, names=[s.name for s in mine], **summary(job, mine))
        return 0
    if arguments.action == "verify":
        checked = verify(job)
        damaged = {name: wrong for name, wrong in checked.items() if wrong}
        report(result="error" if damaged else "ok", tenant=job.tenant, checked=len(checked), damaged=damaged)
        return 1 if damaged else 0
    if arguments.action == "restore":
        facts = restore(job, arguments.generation, arguments.into_database, arguments.into_directory)
        report(result="error" if facts["different"] else "ok", tenant=job.tenant, **facts)
        return 1 if facts["different"] else 0
    made = back_up(job)
    verified = now().strftime("%Y-%m-%dT%H:%M:%SZ")
    report(result="ok", tenant=job.tenant, made=made.name, verifiedAt=verified, **summary(job, stored(job)))
    return 0


def _report_failure(job: Job, reason: str, message: str) -> None:
    facts: dict[str, Any] = {}
    with suppress(BackupError, OSError):
        facts = summary(job, stored(job))
    report(result="error", tenant=job.tenant, reason=reason, message=message[:1000], **facts)


if __name__ == "__main__":
    sys.exit(main())
