"""One tenant's restic repository, typed. The key is a file, never an argument."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from elink_backup import errors, generations
from elink_backup.errors import BackupError
from elink_backup.generations import COMPLETE, UNPROVEN, Snapshot
from elink_backup.job import KEY, Job
from elink_backup.location import Location, location_of
from elink_backup.restic import Running, restic, tail
from elink_backup.unpack import FileFacts, Unpacking, close, copy

DUMP = "database/database.dump"
MANIFEST = "database/manifest.json"
_INCOMPLETE = 3
"""restic's exit code for a snapshot that lacks files it could not read."""
_TRIES = 3


@dataclass(frozen=True)
class Contents:
    """What one snapshot holds, read from the store to its last byte."""

    manifest: dict[str, Any]
    files: dict[str, FileFacts]
    """The tenant's files by their name."""


@dataclass(frozen=True)
class Repository:
    """The repository of one tenant at a place of its own."""

    location: Location
    key: Path
    stall: float

    @classmethod
    def of(cls, job: Job) -> Repository:
        """The repository that `job` speaks of."""
        return cls(location_of(job), job.secrets / KEY, job.stall)

    @property
    def exists(self) -> bool:
        """Whether it was made. A store that is away raises instead of looking empty."""
        return self.location.exists()

    def ensure(self) -> None:
        """Make the repository when there is none; what a killed `init` left is no repository."""
        if not self.exists:
            self.location.clear()
            self._restic("init")

    def snapshots(self) -> list[Snapshot]:
        """All snapshots, oldest first."""
        return generations.parse(json.loads(self._restic("snapshots", "--no-lock", "--json") or "[]"))

    def add(self, source: Path, tags: dict[str, str]) -> str:
        """Snapshot `database` and `files` of `source`, unproven; returns its ID. A partial one is taken back."""
        words = ",".join([UNPROVEN, *(f"{key}={value}" for key, value in tags.items() if value)])
        arguments = ("backup", "--json", "--quiet", "--host", tags["tenant"], "--tag", words, "database", "files")
        for left in reversed(range(_TRIES)):
            done, out = self._run(arguments, cwd=source)
            if done.code != _INCOMPLETE:
                break
            if made := _snapshot_id(out):
                self.forget([made])
            if not left:
                raise BackupError(f"files could not be read: {tail(done.said)}", errors.FILES_UNREADABLE)
        done.judge()
        made = _snapshot_id(out)
        if made is None:
            raise BackupError("restic named no snapshot")
        return made

    def prove(self, *snapshots: str) -> None:
        """Make snapshots that were read back generations."""
        self._restic("tag", "--add", COMPLETE, "--remove", UNPROVEN, *snapshots)

    def check(self) -> None:
        """Structure of the whole repository: every blob that a snapshot needs is in a pack that exists."""
        self._restic("check", "--quiet")

    def forget(self, snapshots: Sequence[str]) -> None:
        """Remove snapshots, and the data that no other one uses."""
        if snapshots:
            self._restic("forget", "--prune", "--quiet", *snapshots)

    def purge(self) -> None:
        """Remove all data that no snapshot uses. A prune by itself leaves some of it, where that saves work."""
        self._restic("prune", "--max-unused=0", "--quiet")

    def unlock(self) -> None:
        """Remove what a killed job left. The caller holds the tenant's lock, so nobody else is at work."""
        if self.location.has_locks():
            self._restic("unlock", "--remove-all", "--quiet")
        self.location.forget_unfinished()

    def bytes(self) -> int:
        """Size of the repository in the store."""
        return self.location.bytes()

    def read(self, snapshot: str, dump: IO[bytes] | None = None, into: Path | None = None) -> Contents:
        """Read a whole snapshot out of the store. Raises `BackupError` when a byte of it cannot be had.

        The dump is written to `dump`, which is then closed, and the files below `into`, an empty folder. Both are
        filled while it is read: what they hold counts only when this returns.
        """
        manifest: dict[str, Any] = {}
        digest = ""
        files: dict[str, FileFacts] = {}
        unpacking = Unpacking(into)
        broken: Exception | None = None
        with restic(
            self.location, self.key, self.stall, ("dump", "--no-lock", "--archive", "tar", snapshot, "/")
        ) as running:
            try:
                with tarfile.open(fileobj=running.out, mode="r|") as archive:
                    for member in archive:
                        name = member.name.lstrip("/")
                        inside = name.removeprefix("files/").rstrip("/")
                        content = archive.extractfile(member) if member.isfile() else None
                        if content is not None and name == MANIFEST:
                            manifest = json.loads(content.read())
                        elif content is not None and name == DUMP:
                            digest = copy(content, dump).sha256
                            close(dump)
                        elif inside and name.startswith("files/"):
                            facts = unpacking.put(inside, member, content)
                            files |= {inside: facts} if facts else {}
                unpacking.finish()
            except (tarfile.TarError, OSError, ValueError, EOFError) as error:
                broken = error  # restic's own words are better than tar's: they come with its end
        running.judge()
        if broken is not None:
            raise BackupError(f"the snapshot cannot be read: {broken}", errors.STORE_DAMAGED)
        if not manifest or digest != manifest.get("dump", {}).get("sha256"):
            raise BackupError("the dump is not what was written", errors.STORE_DAMAGED)
        return Contents(manifest, files)

    def restore(self, snapshot: str, part: str, target: Path) -> None:
        """Bring `part` (`database` or `files`) back into `target`, compared with the store afterwards."""
        try:
            self._restic("restore", "--no-lock", "--quiet", "--verify", "--target", str(target), f"{snapshot}:/{part}")
        except BackupError as error:
            # Nothing is written into the store: what is full is the target.
            if error.reason == errors.STORE_FULL:
                raise BackupError(str(error), errors.SCRATCH_FULL) from error
            raise

    def _restic(self, *arguments: str) -> str:
        done, out = self._run(arguments)
        done.judge()
        return out

    def _run(self, arguments: Sequence[str], cwd: Path | None = None) -> tuple[Running, str]:
        with restic(self.location, self.key, self.stall, arguments, cwd) as running:
            out = running.out.read().decode(errors="replace")
        return running, out


def _snapshot_id(out: str) -> str | None:
    for line in reversed(out.splitlines()):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and found.get("message_type") == "summary":
            return str(found["snapshot_id"]) if found.get("snapshot_id") else None
    return None
