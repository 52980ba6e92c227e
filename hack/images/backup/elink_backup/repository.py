"""One tenant's restic repository: a thin, typed layer over the command. The key is a file, never an argument."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from elink_backup import errors, generations
from elink_backup.errors import BackupError
from elink_backup.generations import COMPLETE, UNPROVEN, Snapshot
from elink_backup.job import KEY, Job

DUMP = "database/database.dump"
MANIFEST = "database/manifest.json"
_FOLDER = "repository"
_INCOMPLETE = 3
"""restic's exit code for a snapshot that lacks files it could not read."""
_TRIES = 3


SPARE_BYTES = 64 << 20
"""Room that must stay free on the store: a full store breaks every tenant's backup, not only this one's."""


@dataclass(frozen=True)
class Contents:
    """What one snapshot holds, read from the store to its last byte."""

    manifest: dict[str, Any]
    dump_sha256: str
    files: dict[str, int]
    """Name → size of the tenant's files."""


@dataclass(frozen=True)
class Repository:
    """The repository of one tenant in a folder of its own."""

    folder: Path
    key: Path
    longest: float

    @classmethod
    def of(cls, job: Job) -> Repository:
        """The repository that `job` speaks of."""
        return cls(job.store / _FOLDER, job.secrets / KEY, job.longest)

    @property
    def exists(self) -> bool:
        """Whether it was made. A store that is away raises instead of looking empty."""
        if not self.folder.parent.is_dir():
            raise BackupError(f"{self.folder.parent} is not mounted", errors.STORE_AWAY)
        if (self.folder / "config").is_file():
            return True
        if any(self._has_files(name) for name in ("snapshots", "data", "index")):
            raise BackupError("the repository has lost its configuration: restore the store", errors.STORE_DAMAGED)
        return False

    def ensure(self) -> None:
        """Make the repository when there is none; what a killed `init` left is no repository."""
        if not self.exists:
            shutil.rmtree(self.folder, ignore_errors=True)
            self._restic("init")

    def snapshots(self) -> list[Snapshot]:
        """All snapshots, oldest first."""
        return generations.parse(json.loads(self._restic("snapshots", "--no-lock", "--json") or "[]"))

    def add(self, source: Path, tags: dict[str, str]) -> str:
        """Snapshot `database` and `files` of `source`, unproven; returns its ID. A partial one is taken back."""
        words = ",".join([UNPROVEN, *(f"{key}={value}" for key, value in tags.items() if value)])
        arguments = ("backup", "--json", "--quiet", "--host", tags["tenant"], "--tag", words, "database", "files")
        for left in reversed(range(_TRIES)):
            code, out, err = self._run(arguments, cwd=source)
            if code != _INCOMPLETE:
                break
            if made := _snapshot_id(out):
                self.forget([made])
            if not left:
                raise BackupError(f"files could not be read: {_tail(err)}", errors.FILES_UNREADABLE)
        self._judge(arguments[0], code, err or out)
        made = _snapshot_id(out)
        if made is None:
            raise BackupError("restic named no snapshot")
        return made

    def prove(self, snapshot: str) -> None:
        """Make a snapshot that was read back a generation."""
        self._restic("tag", "--add", COMPLETE, "--remove", UNPROVEN, snapshot)

    def check(self) -> None:
        """Structure of the whole repository: every blob that a snapshot needs is in a pack that exists."""
        self._restic("check", "--quiet")

    def forget(self, snapshots: Sequence[str]) -> None:
        """Remove snapshots, and the data that no other one uses."""
        if snapshots:
            self._restic("forget", "--prune", "--quiet", *snapshots)

    def unlock(self) -> None:
        """Remove what a killed job left. The caller holds the folder's lock, so nobody else is at work."""
        self._restic("unlock", "--remove-all", "--quiet")
        # Files that restic was writing; it gives them their names when they are whole, and looks at no others.
        for unfinished in self.folder.rglob("*-tmp-*"):
            unfinished.unlink()

    def bytes(self) -> int:
        """Size of the repository in the store."""
        return sum(p.stat().st_size for p in self.folder.rglob("*") if p.is_file())

    def read(self, snapshot: str) -> Contents:
        """Read a whole snapshot out of the store. Raises `BackupError` when a byte of it cannot be had."""
        manifest: dict[str, Any] = {}
        digest, files = "", {}
        with self._stream("dump", "--no-lock", "--archive", "tar", snapshot, "/") as stream:
            try:
                with tarfile.open(fileobj=stream, mode="r|") as archive:
                    for member in archive:
                        name = member.name.lstrip("/")
                        content = archive.extractfile(member) if member.isfile() else None
                        if content is not None and name == MANIFEST:
                            manifest = json.loads(content.read())
                        elif content is not None and name == DUMP:
                            digest = hashlib.file_digest(content, "sha256").hexdigest()
                        elif name.startswith("files/") and not member.isdir():
                            files[name.removeprefix("files/")] = member.size
                            if content is not None:
                                hashlib.file_digest(content, "sha256")  # to the last byte
                while stream.read(1 << 20):
                    pass
            except (tarfile.TarError, OSError, ValueError, EOFError) as error:
                stream.read()  # restic's own words are better than tar's: they come with its end
                raise _Broken(str(error)) from error
        if not manifest or digest != manifest.get("dump", {}).get("sha256"):
            raise BackupError("the dump is not what was written", errors.STORE_DAMAGED)
        return Contents(manifest, digest, files)

    def restore(self, snapshot: str, part: str, target: Path) -> None:
        """Bring `part` (`database` or `files`) back into `target`, compared with the store afterwards."""
        self._restic("restore", "--no-lock", "--quiet", "--verify", "--target", str(target), f"{snapshot}:/{part}")

    @contextmanager
    def _stream(self, *arguments: str) -> Iterator[IO[bytes]]:
        process = subprocess.Popen(
            self._command(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self._environment()
        )
        assert process.stdout is not None and process.stderr is not None  # noqa: S101, PT018 - for the type checker
        try:
            broken: _Broken | None = None
            try:
                yield process.stdout
            except _Broken as error:
                broken = error
            said = process.stderr.read().decode(errors="replace")
            self._judge(arguments[0], process.wait(), said)
            if broken is not None:
                raise BackupError(f"the snapshot cannot be read: {broken}", errors.STORE_DAMAGED)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            process.stdout.close()
            process.stderr.close()

    def _restic(self, *arguments: str) -> str:
        code, out, err = self._run(arguments)
        self._judge(arguments[0], code, err or out)
        return out

    def _run(self, arguments: Sequence[str], cwd: Path | None = None) -> tuple[int, str, str]:
        try:
            done = subprocess.run(
                self._command(arguments), capture_output=True, text=True, errors="replace", check=False, cwd=cwd,
                timeout=self.longest, env=self._environment(),
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            # restic 0.18 now and then waits for ever after its first failed write.
            if shutil.disk_usage(self.folder).free < SPARE_BYTES:
                raise BackupError(f"restic {arguments[0]} found no room in the store", errors.STORE_FULL) from None
            raise BackupError(
                f"restic {arguments[0]} did not end in {self.longest:.0f} s: is the store overloaded?",
                errors.STORE_TOO_SLOW,
            ) from None
        return done.returncode, done.stdout, done.stderr

    def _judge(self, action: str, code: int, said: str) -> None:
        if code != 0:
            raise BackupError(f"restic {action} failed: {_tail(said)}", errors.store_reason(code, said))

    def _command(self, arguments: Sequence[str]) -> list[str]:
        return ["restic", "--no-cache", "--repo", str(self.folder), "--password-file", str(self.key), *arguments]

    def _environment(self) -> dict[str, str]:
        # Half of Go's default heap: many small jobs share a node.
        return {"GOGC": "50", **os.environ}

    def _has_files(self, name: str) -> bool:
        return any(p.is_file() for p in (self.folder / name).rglob("*"))


class _Broken(Exception):
    """The stream ended badly; what restic says decides about the reason."""


@contextmanager
def alone(job: Job) -> Iterator[None]:
    """Hold the lock of the tenant's folder; another job is waited for. Raises `BackupError`."""
    deadline = time.monotonic() + job.patience
    with _lock_file(job) as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise BackupError("another backup of this tenant is still running", errors.STILL_RUNNING) from None
                time.sleep(1)
        yield


def _lock_file(job: Job) -> IO[str]:
    try:
        return (job.store / ".lock").open("w")
    except OSError as error:
        reason = errors.store_reason(1, str(error))
        raise BackupError(
            f"the store cannot be written: {error}", errors.STORE_AWAY if reason == errors.STORE_DAMAGED else reason
        ) from error


def _snapshot_id(out: str) -> str | None:
    for line in reversed(out.splitlines()):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and found.get("message_type") == "summary":
            return str(found["snapshot_id"]) if found.get("snapshot_id") else None
    return None


def _tail(text: str) -> str:
    return " ".join(text.split())[-500:]
