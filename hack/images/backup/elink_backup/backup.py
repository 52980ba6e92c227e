"""`elink-backup`: back up one tenant (`run`), look at its generations (`list`), read them all (`verify`), bring one
back (`restore`), hold what a restored database would send by itself (`disarm`).

A restore is three steps of one pod: `elink-backup restore` into an empty database, `elink-app migrate` with
ELINK_MIGRATE_DATABASE (an old generation has an old schema), `elink-backup disarm` of that database. All three log in
with the tenant's own role.

Exit codes: 0 done, 1 failed (older generations are untouched), 2 wrong usage or environment.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from elink_backup import database, errors, generations
from elink_backup.errors import BackupError
from elink_backup.generations import Snapshot
from elink_backup.job import Job
from elink_backup.lock import alone
from elink_backup.manifest import write_manifest
from elink_backup.mending import find_rotten, mark_lost, share_of, write_and_look
from elink_backup.report import jst, now, report
from elink_backup.repository import DUMP, Repository
from elink_backup.restore import bring_back, clear

_LISTED = 20
"""A termination message has no room for more."""

Gather = Callable[[Job, datetime], None]
"""Fills `database` (dump, manifest) and `files` of a job's source; the time is the generation's."""


def back_up(job: Job, gather: Gather) -> tuple[Snapshot, list[Snapshot]]:
    """Make one generation of what `gather` brings together, and keep the newest `job.keep`: it, and all that is kept.

    A restic command whose key has to be stretched costs half a second of a processor, so none is run without need.
    Raises `BackupError`; a failure displaces nothing.
    """
    store = Repository.of(job)
    with alone(job) as lock:
        started = now()
        store.ensure()
        lock.check()
        store.unlock()
        store.location.check_room()
        store.quicken()
        try:
            # The database first: a file that it names was there before it, and is there unless it was deleted since.
            gather(job, started)
            name = generations.name_of(started)
            made, lost = write_and_look(store, job.source, job.tags(name, started))
            lock.check()
            if made.id not in lost:
                store.prove(made.id)
        finally:
            clear(job.source / "database")
        lock.check()
        # After the new one is proven: what older ones have lost must not keep it away.
        lost |= find_rotten(store, share_of(started))
        lock.check()
        found = store.snapshots()
        if mark_lost(store, found, lost):
            found = store.snapshots()
        proven = generations.choose(found, job.tenant, name)
        if proven is None:
            raise BackupError(f"generation {name} was written but is not complete in the store", errors.STORE_DAMAGED)
        found = generations.in_order([*found, *store.aside(job.tenant)], now())
        doomed = {s.id for s in generations.doomed(found, job.tenant, job.keep, job.spare)}
        kept = [s for s in found if s.id not in doomed]
        store.location.keep_spare()
        store.forget(sorted(doomed), prune=not generations.damaged(kept, job.tenant))
        return proven, kept


def gather_tenant(job: Job, started: datetime) -> None:
    """The dump of the tenant's database and its manifest; the files are where they are."""
    folder = job.source / "database"
    clear(folder)
    folder.mkdir(exist_ok=True)
    if not (job.source / "files").is_dir():
        raise BackupError("the tenant's directory is not mounted", errors.FILES_UNREADABLE)
    target = job.source / DUMP
    database.dump(job, target)
    facts = database.facts_of_dump(target)
    if not facts:
        raise BackupError("the dump holds no table data: is the database migrated?")
    write_manifest(job.source, {**job.tags("", started), "started": jst(started), "tables": facts})


def stored(job: Job) -> list[Snapshot]:
    """All snapshots in the store, and what was put aside, as `generations.in_order` has them."""
    store = Repository.of(job)
    return generations.in_order([*store.snapshots(), *store.aside(job.tenant)], now()) if store.exists else []


def summary(job: Job, found: Sequence[Snapshot]) -> dict[str, Any]:
    """What is in the store: number of generations, the newest one's time (RFC 3339, UTC), all bytes, and the names of
    those that cannot come back, which do not count.
    """
    mine, damaged = generations.present(found, job.tenant), generations.damaged(found, job.tenant)
    return {
        "generations": len(mine),
        "newest": mine[-1].made if mine else None,
        "bytes": Repository.of(job).bytes() if mine or damaged else 0,
        "damaged": [s.name for s in damaged][-_LISTED:],
    }


def verify(job: Job) -> dict[str, str]:
    """Read every generation to its last byte: name → what is wrong (empty: nothing)."""
    store = Repository.of(job)
    found = {}
    everything = store.snapshots() if store.exists else []
    for snapshot in generations.complete(everything, job.tenant):
        try:
            store.read(snapshot)
            found[snapshot.name] = ""
        except BackupError as error:
            found[snapshot.name] = str(error)[:200]
    return found


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
    held = actions.add_parser("disarm", help="hold deliveries and mails of a restored and migrated database")
    held.add_argument("--database", required=True)
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
        report_failure(job, error.reason, str(error), error.facts)
    except OSError as error:
        report_failure(job, errors.store_reason(1, str(error)), str(error))
    return 1


def _act(job: Job, arguments: argparse.Namespace) -> int:
    if arguments.action == "list":
        return tell_stored(job)
    if arguments.action == "verify":
        return tell_verified(job)
    if arguments.action == "restore":
        facts = bring_back(job, arguments.generation, arguments.into_database, arguments.into_directory)
        report(result="error" if facts["different"] else "ok", tenant=job.tenant, **facts)
        return 1 if facts["different"] else 0
    if arguments.action == "disarm":
        report(result="ok", tenant=job.tenant, **database.disarm(job, arguments.database))
        return 0
    tell_made(job, *back_up(job, gather_tenant))
    return 0


def tell_made(job: Job, made: Snapshot, kept: Sequence[Snapshot]) -> None:
    """Report a new generation, which was read back, and all that the store has now."""
    verified = now().strftime("%Y-%m-%dT%H:%M:%SZ")
    report(result="ok", tenant=job.tenant, made=made.name, verifiedAt=verified, **summary(job, kept))


def tell_stored(job: Job) -> int:
    """Report what is in the store; exit code 0."""
    found = stored(job)
    names = [s.name for s in generations.present(found, job.tenant)]
    report(result="listed", tenant=job.tenant, names=names, **summary(job, found))
    return 0


def tell_verified(job: Job) -> int:
    """Read all of it and report what is damaged; exit code 0 or 1."""
    checked = verify(job)
    damaged = {name: wrong for name, wrong in checked.items() if wrong}
    report(result="error" if damaged else "ok", tenant=job.tenant, checked=len(checked), damaged=damaged)
    return 1 if damaged else 0


def report_failure(job: Job, reason: str, message: str, about: Mapping[str, Any] | None = None) -> None:
    """Report why it failed, and what is in the store if that can be seen."""
    facts: dict[str, Any] = dict(about or {})
    with suppress(BackupError, OSError):
        facts |= summary(job, stored(job))
    report(result="error", tenant=job.tenant, reason=reason, message=message[:1000], **facts)


if __name__ == "__main__":
    sys.exit(main())
