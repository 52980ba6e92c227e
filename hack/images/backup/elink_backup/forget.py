"""Taking erased tenants out of the copies of the server's own data: what names one is written again without it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from elink_backup import errors
from elink_backup.errors import BackupError
from elink_backup.generations import Snapshot
from elink_backup.job import Job
from elink_backup.lock import alone
from elink_backup.manifest import sha256_of, write_manifest
from elink_backup.mending import write
from elink_backup.repository import DUMP, MANIFEST, Repository, damages
from elink_backup.restore import clear
from elink_backup.server_data import describe, take_out


@dataclass(frozen=True)
class Forgotten:
    """Generations there are, those written again, those that nobody can read and that went as a whole, lines taken out
    by uid; `left`: names of those with some.
    """

    generations: int = 0
    rewritten: int = 0
    unreadable: int = 0
    lines: Mapping[str, int] = field(default_factory=dict)
    left: tuple[str, ...] = ()


def forget(job: Job, tenants: Mapping[str, str]) -> Forgotten:
    """Take the tenants (uid → name) out, remove the old data from the store and look again. Raises `BackupError`.

    Repeatable after a kill at any point: a generation is written anew, read back and proven before the old one goes.
    One that nobody can read may name them, and nothing needs it (docs/adr/0022): it goes.
    """
    store = Repository.of(job)
    with alone(job) as lock:
        if not store.exists:
            return Forgotten(lines=dict.fromkeys(tenants, 0))
        store.unlock()
        if damages(store.check):
            store.mend()
        found = store.snapshots()
        doomed = [one for one in found if not one.complete]
        unreadable = store.aside(job.tenant)
        made: list[Snapshot] = []
        lines: Counter[str] = Counter(dict.fromkeys(tenants, 0))
        for same in _generations(found):
            named: list[Snapshot] = []
            clean = False  # Written again by a run that was killed before it removed the old one.
            for one in same:
                taken = _look_if_readable(job, store, one, tenants)
                if taken is None:
                    unreadable.append(one)
                elif taken:
                    lines.update(taken)
                    named.append(one)
                else:
                    clean = True
            if named and not clean:
                if named[-1] is not same[-1]:
                    _look(job, store, named[-1], tenants)
                made.append(_write_again(job, store, named[-1]))
            doomed += named
        lock.check()
        if made:
            store.prove(*(one.id for one in made))
        store.forget([one.id for one in (*doomed, *unreadable)])
        store.purge()
        store.check()
        lock.check()
        again = store.snapshots()
        left = tuple(one.name for one in again if _look(job, store, one, tenants))
        return Forgotten(len(again), len(made), len(unreadable), dict(lines), left)


def _generations(snapshots: Iterable[Snapshot]) -> Iterable[list[Snapshot]]:
    """Complete snapshots by generation; after a kill there may be two of one."""
    found: dict[tuple[str, str], list[Snapshot]] = {}
    for one in snapshots:
        if one.complete:
            found.setdefault((one.name, one.kind), []).append(one)
    return found.values()


def _look(job: Job, store: Repository, snapshot: Snapshot, tenants: Mapping[str, str]) -> Counter[str]:
    """Bring a generation into the job's source, without the tenants' lines; how many it has of each."""
    clear(job.source)
    try:
        store.restore(snapshot.id, "", job.source)
        wanted = json.loads((job.source / MANIFEST).read_bytes())["dump"]["sha256"]
        found = sha256_of(job.source / DUMP)
    except (OSError, ValueError, KeyError) as error:
        raise BackupError(f"generation {snapshot.name} cannot be read: {error}", errors.STORE_DAMAGED) from error
    if wanted != found:
        raise BackupError(f"the rows of generation {snapshot.name} are not what was written", errors.STORE_DAMAGED)
    return take_out(job.source, tenants)


def _look_if_readable(
    job: Job, store: Repository, snapshot: Snapshot, tenants: Mapping[str, str]
) -> Counter[str] | None:
    try:
        return _look(job, store, snapshot, tenants)
    except BackupError as error:
        if error.reason != errors.STORE_DAMAGED:
            raise
        return None


def _write_again(job: Job, store: Repository, snapshot: Snapshot) -> Snapshot:
    """Add what the last look left in the job's source as the same generation, read back."""
    before = json.loads((job.source / MANIFEST).read_bytes())
    write_manifest(job.source, {**before, **describe(job.source)})
    return write(store, job.source, snapshot.tags)
