"""One tenant's restic repository, typed. The key is a file, never an argument."""

from __future__ import annotations

import json
import os
import re
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from elink_backup import errors, generations
from elink_backup.errors import BackupError
from elink_backup.generations import COMPLETE, DAMAGED, UNPROVEN, Snapshot
from elink_backup.job import KEY, Job
from elink_backup.location import Location, location_of
from elink_backup.quickkey import build_key_file, is_random, opens_at_once
from elink_backup.report import now
from elink_backup.restic import Running, restic, tail
from elink_backup.unpack import FileFacts, Unpacking, close, copy

DUMP = "database/database.dump"
MANIFEST = "database/manifest.json"
_INCOMPLETE = 3
"""restic's exit code for a snapshot that lacks files it could not read."""
_PARENT_LOST = "the repository could be damaged"
"""restic takes this for a file that it could not read."""
_TRIES = 3
_UNREADABLE = re.compile(r'Ignoring "([0-9a-f]{64})": .*invalid data returned')
_DAMAGED_PACKS = re.compile(r"restic repair packs ((?:[0-9a-f]{64} ?)+)")


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
        """All snapshots, as `generations.in_order` has them."""
        return generations.parse(json.loads(self._restic("snapshots", "--no-lock", "--json") or "[]"), now())

    def add(self, source: Path, tags: Mapping[str, str], *, afresh: bool = False) -> Snapshot:
        """Snapshot `database` and `files` of `source`, unproven. A partial one is taken back.

        `afresh`: read all files, also those that an older snapshot, which cannot be read perhaps, has just so.
        """
        words = ",".join([UNPROVEN, *(f"{key}={value}" for key, value in tags.items() if value)])
        arguments = [
            "backup", "--json", "--quiet", "--host", tags["tenant"], "--tag", words,
            *(("--force",) if afresh else ()), "database", "files",
        ]  # fmt: skip
        for left in reversed(range(_TRIES)):
            done, out = self._run(arguments, cwd=source)
            if done.code != _INCOMPLETE:
                break
            if made := _snapshot_of(out, tags):
                self.forget([made.id], prune=False)
            if _PARENT_LOST in done.said:
                raise BackupError(f"an older snapshot cannot be read: {tail(done.said)}", errors.STORE_DAMAGED)
            if not left:
                raise BackupError(f"files could not be read: {tail(done.said)}", errors.FILES_UNREADABLE)
        done.judge()
        made = _snapshot_of(out, tags)
        if made is None:
            raise BackupError("restic named no snapshot")
        return made

    def prove(self, *snapshots: str) -> None:
        """Make snapshots that were read back generations."""
        self._restic("tag", "--add", COMPLETE, "--remove", UNPROVEN, *snapshots)

    def mark(self, damaged: Sequence[str], sound: Sequence[str]) -> None:
        """Say of generations that they cannot come back, or that they can again. Changes their IDs."""
        for option, snapshots in (("--add", damaged), ("--remove", sound)):
            if snapshots:
                self._restic("tag", option, DAMAGED, *snapshots)

    def check(self, share: str = "") -> None:
        """Structure of the whole repository: every blob that a snapshot needs is in a pack that exists.

        And all data of a `share` of the packs: `2/7` is the second of seven. The caller holds the tenant's lock, so
        nobody else writes, and restic's own lock, which costs a fifth of a second, keeps nobody out.
        """
        reading = (f"--read-data-subset={share}",) if share else ()
        self._restic("check", "--no-lock", "--quiet", *reading)

    def holds(self, snapshot: str) -> bool:
        """The same of one snapshot. It knows what the index names, so `mend` comes before."""
        return not damages(lambda: self._restic("stats", "--no-lock", "--quiet", "--mode=raw-data", snapshot))

    def mend(self) -> None:
        """Let the index name just what the store has, and put snapshots aside that nobody can read. No data is removed.

        restic takes what the index names for stored, and makes no snapshot while one cannot be read.
        """
        done, _ = self._run(("snapshots", "--no-lock", "--json"))
        done.judge()
        for unreadable in _UNREADABLE.findall(done.said):
            self.location.set_aside(unreadable, generations.name_of(now()))
        self._restic("repair", "index", "--quiet")

    def salvage(self, share: str = "1/1") -> None:
        """Read all data that is stored, or of a share of the packs, and write what can be read of damaged ones anew.

        What is removed with them cannot be decrypted by anybody: a pack is named by the checksum of its content.
        """
        done, _ = self._run(("check", "--no-lock", f"--read-data-subset={share}", "--quiet"))
        found = _DAMAGED_PACKS.search(done.said)
        for pack in found[1].split() if found else ():
            # restic copies the pack into the folder in which it works.
            with tempfile.TemporaryDirectory() as folder:
                repaired, _ = self._run(("repair", "packs", "--quiet", pack), cwd=Path(folder))
                repaired.judge()

    def aside(self, tenant: str) -> list[Snapshot]:
        """Snapshots that nobody can read, as damaged generations of the moment at which that was seen."""
        return [
            Snapshot(name, {"generation": name.split("-")[0], "tenant": tenant}, complete=True, damaged=True)
            for name in sorted(self.location.aside())
        ]

    def forget(self, snapshots: Sequence[str], *, prune: bool = True) -> None:
        """Remove snapshots, and the data that no other one uses. With a damaged one left, restic does not `prune`."""
        if not snapshots:
            return
        aside = set(self.location.aside()).intersection(snapshots)
        for name in aside:
            self.location.forget_aside(name)
        if known := [one for one in snapshots if one not in aside]:
            self._restic("forget", "--quiet", *(("--prune",) if prune else ()), *known)

    def purge(self) -> None:
        """Remove all data that no snapshot uses. A prune by itself leaves some of it, where that saves work."""
        self._restic("prune", "--max-unused=0", "--quiet")

    def unlock(self) -> None:
        """Remove what a killed job left. The caller holds the tenant's lock, so nobody else is at work."""
        if self.location.has_locks():
            self._restic("unlock", "--remove-all", "--quiet")
        self.location.forget_unfinished()

    def quicken(self) -> None:
        """Put a key file that opens at once in the place of restic's own, as `quickkey` explains.

        The caller holds the tenant's lock. Killed between, both stay, and both open.
        """
        secret = self.key.read_text(encoding="utf-8").strip()
        if not is_random(secret):
            return
        files = self.location.keys()
        if any(map(opens_at_once, files.values())):
            return
        # Of several keys the one of this secret: others may be a person's.
        listed = json.loads(self._restic("key", "list", "--no-lock", "--json"))
        [slow] = (name for key in listed if key["current"] for name in files if name.startswith(key["id"]))
        master = json.loads(self._restic("cat", "masterkey", "--no-lock"))
        name, content = build_key_file(secret, master, now(), os.urandom)
        self.location.add_key(name, content)
        # restic refuses to remove the key with which it opened, so this also proves that the new one does.
        self._restic("key", "remove", slow, "--key-hint", name)

    def bytes(self) -> int:
        """Size of the repository in the store."""
        return self.location.bytes()

    def read(self, snapshot: Snapshot, dump: IO[bytes] | None = None, into: Path | None = None) -> Contents:
        """Read a whole snapshot out of the store. Raises `BackupError` when a byte of it cannot be had.

        The dump is written to `dump`, which is then closed, and the files below `into`, an empty folder. Both are
        filled while it is read: what they hold counts only when this returns.
        """
        manifest: dict[str, Any] = {}
        digest, regular = "", 0
        files: dict[str, FileFacts] = {}
        unpacking = Unpacking(into)
        broken: Exception | None = None
        with restic(
            self.location, self.key, self.stall, ("dump", "--no-lock", "--archive", "tar", snapshot.id, "/")
        ) as running:
            try:
                with tarfile.open(fileobj=running.out, mode="r|") as archive:
                    for member in archive:
                        name = member.name.lstrip("/")
                        inside = name.removeprefix("files/").rstrip("/")
                        content = archive.extractfile(member) if member.isfile() else None
                        regular += content is not None
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
        if snapshot.files not in (None, regular):
            # restic's dump passes over a folder whose list it cannot read, and may end with success.
            raise BackupError(f"{regular} files can be read of {snapshot.files}", errors.STORE_DAMAGED)
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


def damages(work: Callable[[], object]) -> bool:
    """Do it, and say whether it found the store damaged. Raises any other `BackupError`."""
    try:
        work()
    except BackupError as error:
        if error.reason != errors.STORE_DAMAGED:
            raise
        return True
    return False


def _snapshot_of(out: str, tags: Mapping[str, str]) -> Snapshot | None:
    for line in reversed(out.splitlines()):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and found.get("message_type") == "summary":
            made = found.get("snapshot_id")
            return Snapshot(str(made), tags, complete=False, files=found["total_files_processed"]) if made else None
    return None
