"""Where a repository lies: a folder of a volume, or a bucket. Everything that is not restic's own business."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from elink_backup import errors
from elink_backup.bucket import Bucket
from elink_backup.errors import BackupError
from elink_backup.job import Job

FOLDER = "repository"
CREDENTIALS = "store-credentials"
AUTHORITY = "store-ca.crt"
SPARE_BYTES = 64 << 20
"""Room that must stay free on a volume: a full one breaks every tenant's backup, not only this one's."""
_SNAPSHOTS = "snapshots"
_DATA = (_SNAPSHOTS, "data", "index")
_CONFIG = "config"
_ASIDE = "unreadable"
"""Beside the repository: what restic would not work with."""
_SPARE = "spare"
"""Beside it, too."""
_KEYS = "keys"
_LOCKS = "locks"


class Location(Protocol):
    """What a repository needs to know of its place. All raise `BackupError`."""

    @property
    def url(self) -> str:
        """As restic names it."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """Further arguments of every command."""

    @property
    def environment(self) -> dict[str, str]:
        """Further environment of every command."""

    def exists(self) -> bool:
        """Whether a repository was made here. A store that is away raises instead of looking empty."""

    def clear(self) -> None:
        """Remove what a killed `init` left."""

    def keys(self) -> dict[str, bytes]:
        """The repository's key files: name → content."""

    def add_key(self, name: str, content: bytes) -> None:
        """Write one more, all of it or nothing."""

    def set_aside(self, snapshot: str, when: str) -> None:
        """Take the file of a snapshot out of the repository, and keep it as `<when>-<snapshot>`."""

    def aside(self) -> list[str]:
        """Names of what was put aside."""

    def forget_aside(self, name: str) -> None:
        """Remove one of these."""

    def keep_spare(self) -> None:
        """Copies of configuration and key files beside the repository, of just those that it has.

        They are a few hundred bytes without which nothing of it opens. A person can put them back.
        """

    def has_locks(self) -> bool:
        """Whether a restic command that is at work, or was killed, left its lock."""

    def forget_unfinished(self) -> None:
        """Remove what a killed job was writing. The caller holds the tenant's lock."""

    def bytes(self) -> int:
        """Size of all that is stored."""

    def check_room(self) -> None:
        """Raise when a backup should not begin."""

    def is_full(self) -> bool:
        """Whether it is known to have no room."""


def location_of(job: Job) -> Location:
    """Where the repository of `job` is."""
    if not job.bucket:
        return Folder(job.store / FOLDER)
    authority = job.secrets / AUTHORITY
    return Remote(Bucket(job.bucket, job.region, job.secrets / CREDENTIALS, authority if authority.is_file() else None))


@dataclass(frozen=True)
class Folder:
    """A folder of the volume `backups`."""

    folder: Path

    @property
    def url(self) -> str:
        return str(self.folder)

    @property
    def arguments(self) -> tuple[str, ...]:
        return ()

    @property
    def environment(self) -> dict[str, str]:
        return {}

    def exists(self) -> bool:
        if not self.folder.parent.is_dir():
            raise BackupError(f"{self.folder.parent} is not mounted", errors.STORE_AWAY)
        if (self.folder / _CONFIG).is_file():
            return True
        if any(p.is_file() for name in _DATA for p in (self.folder / name).rglob("*")):
            raise _headless()
        return False

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def keys(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.folder / _KEYS).iterdir() if path.is_file()}

    def add_key(self, name: str, content: bytes) -> None:
        # restic looks at no file whose name is no checksum; what a kill leaves goes with `forget_unfinished`.
        unfinished = self.folder / _KEYS / f"{name}-tmp-elink"
        with unfinished.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.chmod(0o600)
        unfinished.rename(self.folder / _KEYS / name)

    def set_aside(self, snapshot: str, when: str) -> None:
        self._aside.mkdir(mode=0o700, exist_ok=True)
        (self.folder / _SNAPSHOTS / snapshot).rename(self._aside / f"{when}-{snapshot}")

    def aside(self) -> list[str]:
        return [path.name for path in self._aside.iterdir()] if self._aside.is_dir() else []

    def forget_aside(self, name: str) -> None:
        (self._aside / name).unlink()

    def keep_spare(self) -> None:
        spare = self.folder.parent / _SPARE
        spare.mkdir(mode=0o700, exist_ok=True)
        wanted = {path.name: path for path in (self.folder / _CONFIG, *(self.folder / _KEYS).iterdir())}
        for name in wanted.keys() - {path.name for path in spare.iterdir()}:
            unfinished = spare / f"{name}.new"
            shutil.copyfile(wanted[name], unfinished)
            unfinished.rename(spare / name)
        for stale in (path for path in spare.iterdir() if path.name not in wanted):
            stale.unlink()

    @property
    def _aside(self) -> Path:
        return self.folder.parent / _ASIDE

    def has_locks(self) -> bool:
        return any((self.folder / _LOCKS).glob("*"))

    def forget_unfinished(self) -> None:
        # Files that restic was writing; it gives them their names when they are whole, and looks at no others.
        for unfinished in self.folder.rglob("*-tmp-*"):
            unfinished.unlink()

    def bytes(self) -> int:
        return sum(p.stat().st_size for p in self.folder.rglob("*") if p.is_file())

    def check_room(self) -> None:
        free = shutil.disk_usage(self.folder.parent).free
        if free < SPARE_BYTES:
            raise BackupError(
                f"the store has {free >> 20} MiB free and {SPARE_BYTES >> 20} MiB are needed: enlarge the volume",
                errors.STORE_FULL,
            )

    def is_full(self) -> bool:
        return shutil.disk_usage(self.folder).free < SPARE_BYTES


@dataclass(frozen=True)
class Remote:
    """The tenant's own bucket."""

    bucket: Bucket

    @property
    def url(self) -> str:
        return f"s3:{self.bucket.url}/{FOLDER}"

    @property
    def arguments(self) -> tuple[str, ...]:
        trust = ("--cacert", str(self.bucket.ca)) if self.bucket.ca else ()
        return (*trust, "-o", f"s3.region={self.bucket.region}", "-o", "s3.bucket-lookup=path")

    @property
    def environment(self) -> dict[str, str]:
        return {"AWS_SHARED_CREDENTIALS_FILE": str(self.bucket.credentials)}

    def exists(self) -> bool:
        if self._holds(_CONFIG):
            return True
        if any(self._holds(f"{name}/") for name in _DATA):
            raise _headless()
        return False

    def clear(self) -> None:
        # A key of that `init` opens with the same password, and nothing else opens with it.
        self.bucket.delete(f"{FOLDER}/")

    def keys(self) -> dict[str, bytes]:
        found = [key for key, _ in self.bucket.objects(f"{FOLDER}/{_KEYS}/")]
        return {key.rsplit("/", 1)[1]: self.bucket.get(key) for key in found}

    def add_key(self, name: str, content: bytes) -> None:
        self.bucket.put(f"{FOLDER}/{_KEYS}/{name}", content)

    def set_aside(self, snapshot: str, when: str) -> None:
        key = f"{FOLDER}/{_SNAPSHOTS}/{snapshot}"
        self.bucket.put(f"{_ASIDE}/{when}-{snapshot}", self.bucket.get(key))
        self.bucket.delete(key)

    def aside(self) -> list[str]:
        return [key.rsplit("/", 1)[1] for key, _ in self.bucket.objects(f"{_ASIDE}/")]

    def forget_aside(self, name: str) -> None:
        self.bucket.delete(f"{_ASIDE}/{name}")

    def keep_spare(self) -> None:
        wanted = {_CONFIG: f"{FOLDER}/{_CONFIG}"}
        wanted |= {key.rsplit("/", 1)[1]: key for key, _ in self.bucket.objects(f"{FOLDER}/{_KEYS}/")}
        kept = {key.rsplit("/", 1)[1] for key, _ in self.bucket.objects(f"{_SPARE}/")}
        for name in wanted.keys() - kept:
            self.bucket.put(f"{_SPARE}/{name}", self.bucket.get(wanted[name]))
        for stale in kept - wanted.keys():
            self.bucket.delete(f"{_SPARE}/{stale}")

    def has_locks(self) -> bool:
        return self._holds(f"{_LOCKS}/")

    def forget_unfinished(self) -> None:
        self.bucket.forget_uploads(f"{FOLDER}/")

    def bytes(self) -> int:
        return sum(size for _, size in self.bucket.objects(f"{FOLDER}/"))

    def check_room(self) -> None:
        """An object store does not say how much room it has; a full one says so when it is written to."""

    def is_full(self) -> bool:
        return False

    def _holds(self, prefix: str) -> bool:
        return any(True for _ in self.bucket.objects(f"{FOLDER}/{prefix}", most=1))


def _headless() -> BackupError:
    return BackupError(
        "the repository has lost its configuration: restore the store, or put back what lies beside it in `spare`",
        errors.STORE_DAMAGED,
    )
