"""What a backup does in a repository that has lost some of what it held.

An old generation that is damaged must not keep a new one from being made; it is named, and counts no more. What only
old generations use nobody reads otherwise, so each backup reads a part of the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from elink_backup import errors
from elink_backup.errors import BackupError
from elink_backup.generations import Snapshot
from elink_backup.report import JST
from elink_backup.repository import Repository, damages

_NIGHTS = 7
"""In so many nights the whole store is read: about as long as a daily generation stays."""


def share_of(moment: datetime) -> str:
    """Which part of the packs the backup of this day (JST) reads, in restic's words: `2/7`."""
    return f"{moment.astimezone(JST).toordinal() % _NIGHTS + 1}/{_NIGHTS}"


def write(store: Repository, source: Path, tags: Mapping[str, str]) -> Snapshot:
    """Add a snapshot, unproven, and read it back to its last byte. Raises `BackupError`.

    What did not change it shares with older ones. When that is lost or rotten, it is written once more, whole; older
    generations that have the same are whole with it.
    """
    for afresh, put_right in ((False, store.mend), (True, store.salvage)):
        try:
            return _written(store, source, tags, afresh=afresh)
        except BackupError as error:
            if error.reason != errors.STORE_DAMAGED:
                raise
        put_right()
    return _written(store, source, tags, afresh=True)


def write_and_look(store: Repository, source: Path, tags: Mapping[str, str]) -> tuple[Snapshot, set[str]]:
    """The same, and the IDs of all snapshots of which something is missing. Raises `BackupError`."""
    made = write(store, source, tags)
    lost = find_lost(store)
    if made.id in lost:
        # It shares what could be read in a pack that is cut short, until the index named that no more.
        made = write(store, source, tags)
        lost = find_lost(store)
    return made, lost


def find_rotten(store: Repository, share: str) -> set[str]:
    """IDs of all snapshots that cannot come back, as far as reading a `share` of the packs shows. Raises `BackupError`.

    When it cannot read them for another reason than damage, such as a sector of a disk, it reads each generation:
    restic does not say whose data that is.
    """
    try:
        return find_lost(store, share)
    except BackupError:
        return {one.id for one in store.snapshots() if one.complete and not _can_be_read(store, one)}


def find_lost(store: Repository, share: str = "") -> set[str]:
    """IDs of all snapshots of which something is missing, or rotten in a `share` of the packs. Raises `BackupError`."""
    if not damages(lambda: store.check(share)):
        return set()
    if share:
        store.salvage(share)
    store.mend()
    return {one.id for one in store.snapshots() if not store.holds(one.id)}


def mark_lost(store: Repository, found: Sequence[Snapshot], lost: set[str]) -> bool:
    """Tag generations as they are, which changes their IDs; False: they are tagged so.

    The tag goes when a store has got back what it had lost.
    """
    damaged = [one.id for one in found if one.complete and one.id in lost and not one.damaged]
    sound = [one.id for one in found if one.complete and one.damaged and one.id not in lost]
    store.mark(damaged, sound)
    return bool(damaged or sound)


def _can_be_read(store: Repository, snapshot: Snapshot) -> bool:
    try:
        store.read(snapshot)
    except BackupError:
        return False
    return True


def _written(store: Repository, source: Path, tags: Mapping[str, str], *, afresh: bool) -> Snapshot:
    made = store.add(source, tags, afresh=afresh)
    store.read(made)
    return made
