"""Files out of a tar stream into an empty folder, each summed up on its way."""

from __future__ import annotations

import hashlib
import os
import tarfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from elink_backup import errors
from elink_backup.errors import BackupError

_CHUNK = 1 << 20


@dataclass(frozen=True)
class FileFacts:
    """By which a file in the store and its restored copy are compared. Of a symbolic link: of where it leads to."""

    size: int
    sha256: str


def copy(content: IO[bytes], target: IO[bytes] | None = None) -> FileFacts:
    """Read to the last byte, and write it to `target`. Raises `BackupError` when that takes no more."""
    digest, size = hashlib.sha256(), 0
    while chunk := content.read(_CHUNK):
        digest.update(chunk)
        size += len(chunk)
        if target is not None:
            try:
                target.write(chunk)
            except OSError as error:
                raise refused(error) from error
    return FileFacts(size, digest.hexdigest())


def close(target: IO[bytes] | None) -> None:
    """Write the rest. Raises `BackupError` as `copy` does."""
    if target is not None:
        try:
            target.close()
        except OSError as error:
            raise refused(error) from error


def refused(error: OSError) -> BackupError:
    """Nothing was written into the store: what is full is the target."""
    full = errors.store_reason(1, str(error)) == errors.STORE_FULL
    reason = errors.SCRATCH_FULL if full else errors.BACKUP_FAILED
    return BackupError(f"what comes back cannot be written: {error}", reason)


def of_link(target: str) -> FileFacts:
    """Facts of a symbolic link."""
    return FileFacts(0, hashlib.sha256(os.fsencode(target)).hexdigest())


def look(path: Path) -> FileFacts:
    """Facts of a restored file, as it can be read now. Raises OSError."""
    if path.is_symlink():
        return of_link(os.readlink(path))
    with path.open("rb") as file:
        return copy(file)


@dataclass
class Unpacking:
    """Members of a stream that become files below `top`, which is empty at the beginning; None: they are only read.

    Links are made at the very end, so nothing is ever written through one. Both methods raise `BackupError`.
    """

    top: Path | None
    _links: list[tuple[Path, str]] = field(default_factory=list)
    _folders: list[tuple[Path, tarfile.TarInfo]] = field(default_factory=list)

    def put(self, name: str, member: tarfile.TarInfo, content: IO[bytes] | None) -> FileFacts | None:
        """One member, `name` relative to the folder; None: it holds nothing, as a folder. A pipe does not come back."""
        parts = PurePosixPath(name).parts
        if not parts or PurePosixPath(name).is_absolute() or ".." in parts:
            raise BackupError(f"{name!r} in the snapshot would lie outside the folder", errors.STORE_DAMAGED)
        path = self.top.joinpath(*parts) if self.top is not None else None
        if member.issym():
            if path is not None:
                self._links.append((path, member.linkname))
            return of_link(member.linkname)
        if path is None:
            return copy(content) if content is not None else None
        try:
            if member.isdir():
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._folders.append((path, member))
            if content is None:
                return None
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with path.open("xb") as file:
                facts = copy(content, file)
            _as_it_was(path, member)
        except OSError as error:
            raise refused(error) from error
        return facts

    def finish(self) -> None:
        """Links, then modes and times of folders, which everything before has changed."""
        try:
            for path, target in self._links:
                path.symlink_to(target)
            for path, member in reversed(self._folders):
                _as_it_was(path, member)
        except OSError as error:
            raise refused(error) from error


def _as_it_was(path: Path, member: tarfile.TarInfo) -> None:
    path.chmod(member.mode & 0o777)
    os.utime(path, (member.mtime, member.mtime))
