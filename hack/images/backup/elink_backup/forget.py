"""Taking an erased tenant out of the copies of the server's own data: what names it is written again without it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from elink_backup import errors
from elink_backup.errors import BackupError
from elink_backup.generations import Snapshot
from elink_backup.job import Job
from elink_backup.lock import alone
from elink_backup.manifest import sha256_of, write_manifest
from elink_backup.repository import DUMP, MANIFEST, Repository
from elink_backup.restore import clear
from elink_backup.server_data import describe, take_out


@dataclass(frozen=True)
class Forgotten:
    """Generations there are, those written again, lines taken out; `left`: names of those that still have some."""

    generations: int = 0
    rewritten: int = 0
    lines: int = 0
    left: tuple[str, ...] = ()


def forget(job: Job, tenant: str, uid: str) -> Forgotten:
    """Take the tenant out, remove the old data from the store and look again. Raises `BackupError`.

    Repeatable after a kill at any point: a generation is written anew, read back and proven before the old one goes.
    """
    store = Repository.of(job)
    with alone(job) as lock:
        if not store.exists:
            return Forgotten()
        store.unlock()
        found = store.snapshots()
        lines = {one.id: _look(job, store, one, tenant, uid) for one in found if one.complete}
        # Written again by a run that was killed before it removed the old one.
        clean = {(one.name, one.kind) for one in found if lines.get(one.id) == 0}
        doomed = [one for one in found if lines.get(one.id) != 0]
        made = [
            _write_again(job, store, one, tenant, uid)
            for one in doomed
            if one.complete and (one.name, one.kind) not in clean
        ]
        for snapshot in made:
            store.read(snapshot)
        lock.check()
        if made:
            store.prove(*made)
        store.forget([one.id for one in doomed])
        store.purge()
        store.check()
        lock.check()
        again = store.snapshots()
        left = tuple(one.name for one in again if _look(job, store, one, tenant, uid))
        return Forgotten(len(again), len(made), sum(lines.values()), left)


def _look(job: Job, store: Repository, snapshot: Snapshot, tenant: str, uid: str) -> int:
    """Bring a generation into the job's source, without the tenant's lines; how many it has."""
    clear(job.source)
    try:
        store.restore(snapshot.id, "", job.source)
        wanted = json.loads((job.source / MANIFEST).read_bytes())["dump"]["sha256"]
        found = sha256_of(job.source / DUMP)
    except (OSError, ValueError, KeyError) as error:
        raise BackupError(f"generation {snapshot.name} cannot be read: {error}", errors.STORE_DAMAGED) from error
    if wanted != found:
        raise BackupError(f"the rows of generation {snapshot.name} are not what was written", errors.STORE_DAMAGED)
    return take_out(job.source, tenant, uid)


def _write_again(job: Job, store: Repository, snapshot: Snapshot, tenant: str, uid: str) -> str:
    _look(job, store, snapshot, tenant, uid)
    before = json.loads((job.source / MANIFEST).read_bytes())
    write_manifest(job.source, {**before, **describe(job.source)})
    return store.add(job.source, dict(snapshot.tags))
