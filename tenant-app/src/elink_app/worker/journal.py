"""What this process has done to mails and not yet written to a database, for the process after a kill -9.

The kernel keeps what was written when a process dies, so nothing is synced to disk. A file belongs to the process that
holds its lock; a file that can be locked belongs to a process that is gone. Lines name rows by number.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import orjson

_ROTATE_BYTES = 4 * 1024 * 1024
_SUFFIX = ".journal"

Key = tuple[str, int, int, int]
"""Tenant, delivery, recipient, attempt."""


@dataclass
class Findings:
    """What a journal tells: rows claimed and never begun, begun and without an answer, answered.

    `claiming`: rows whose claim may have been committed or not, with its moment.
    """

    claimed: set[Key] = field(default_factory=set)
    begun: set[Key] = field(default_factory=set)
    answered: dict[Key, tuple[str, str]] = field(default_factory=dict)
    claiming: dict[Key, datetime] = field(default_factory=dict)

    def by_tenant(self) -> dict[str, Findings]:
        """The same, apart for each tenant."""
        names = sorted({key[0] for key in (*self.claimed, *self.begun, *self.answered, *self.claiming)})
        return {
            name: Findings(
                {key for key in self.claimed if key[0] == name},
                {key for key in self.begun if key[0] == name},
                {key: answer for key, answer in self.answered.items() if key[0] == name},
                {key: moment for key, moment in self.claiming.items() if key[0] == name},
            )
            for name in names
        }


class _File:
    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{os.getpid()}-{secrets.token_hex(6)}{_SUFFIX}"
        self.fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.size = 0
        self.open: set[Key] = set()

    def remove(self) -> None:
        """Unlink before the lock goes: nobody may read a file that is settled."""
        self.path.unlink(missing_ok=True)
        os.close(self.fd)


class Journal:
    """The files of this process. Raises OSError when a line cannot be written: then no mail may be sent."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._current = _File(folder)
        self._full: list[_File] = []

    def claiming(self, tenant: str, delivery_id: int, rows: Iterable[tuple[int, int]], moment: datetime) -> None:
        """These (recipient, attempt) are about to be claimed: the commit comes next, and this process may die in it."""
        self._take("P", tenant, delivery_id, rows, moment.isoformat())

    def claimed(self, tenant: str, delivery_id: int, rows: Iterable[tuple[int, int]]) -> None:
        """These (recipient, attempt) are in this process's hands."""
        self._take("C", tenant, delivery_id, rows)

    def _take(self, kind: str, tenant: str, delivery_id: int, rows: Iterable[tuple[int, int]], *more: str) -> None:
        pairs = list(rows)
        self._write([kind, tenant, delivery_id, pairs, *more])
        self._current.open.update((tenant, delivery_id, *pair) for pair in pairs)

    def begun(self, key: Key) -> None:
        """The body of this mail is about to be written to the relay."""
        self._write(["B", *key])

    def answered(self, key: Key, outcome: str, words: str) -> None:
        """The relay's answer, or what else ended it."""
        self._write(["A", *key, outcome, words])

    def settled(self, keys: Iterable[Key]) -> None:
        """These are in the database."""
        done = set(keys)
        for one in (self._current, *self._full):
            one.open -= done
        for one in [one for one in self._full if not one.open]:
            one.remove()
            self._full.remove(one)
        if self._current.size > _ROTATE_BYTES:
            self._rotate()
        elif self._current.size and not self._current.open:
            os.ftruncate(self._current.fd, 0)
            self._current.size = 0

    def forget(self, tenant: str) -> None:
        """Take a tenant that is gone out of every file: nothing of it will be settled any more.

        The other lines are written to a new file first. Killed between, both are there: a row told twice is told once.
        """
        self._full = [self._without(one, tenant) for one in self._full]
        self._current = self._without(self._current, tenant)

    def close(self) -> None:
        """End: files with unsettled lines stay for the next process."""
        for one in (self._current, *self._full):
            if one.open:
                os.close(one.fd)
            else:
                one.remove()

    def _without(self, old: _File, tenant: str) -> _File:
        lines = old.path.read_bytes().splitlines(keepends=True)
        kept = b"".join(line for line in lines if orjson.loads(line)[1] != tenant)
        if len(kept) == old.size:
            return old
        new = _File(self._folder)
        new.open = {key for key in old.open if key[0] != tenant}
        if os.write(new.fd, kept) != len(kept):
            new.remove()
            raise OSError("the journal's disk is full")
        new.size = len(kept)
        old.remove()
        return new

    def _rotate(self) -> None:
        full, self._current = self._current, _File(self._folder)
        if full.open:
            self._full.append(full)
        else:
            full.remove()

    def _write(self, line: list[object]) -> None:
        data = orjson.dumps(line) + b"\n"
        current = self._current
        if os.write(current.fd, data) != len(data):
            # The next line would become the rest of this one, and nobody could read it.
            os.ftruncate(current.fd, current.size)
            raise OSError("the journal's disk is full")
        current.size += len(data)


@contextmanager
def orphan(path: Path) -> Iterator[Findings | None]:
    """What a dead process left in `path`; None while its owner lives. The file goes when the block ends well."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        with os.fdopen(os.dup(fd), "rb") as lines:
            findings = _read(lines)
        yield findings
        path.unlink(missing_ok=True)
    finally:
        os.close(fd)


def journals(folder: Path) -> list[Path]:
    """Every journal in the folder."""
    return sorted(folder.glob(f"*{_SUFFIX}"))


def _read(lines: Iterable[bytes]) -> Findings:
    found = Findings()
    for line in lines:
        # Only the last line can be half: the process died in it, before what it announces.
        with suppress(ValueError, TypeError, IndexError):
            kind, *rest = orjson.loads(line)
            if kind in ("C", "P"):
                tenant, delivery_id, pairs = rest[:3]
                keys = [(tenant, delivery_id, recipient, attempt) for recipient, attempt in pairs]
                if kind == "P":
                    found.claiming.update(dict.fromkeys(keys, datetime.fromisoformat(rest[3])))
                    continue
                found.claimed.update(keys)
                for one in keys:
                    found.claiming.pop(one, None)
                continue
            key: Key = (rest[0], rest[1], rest[2], rest[3])
            found.claimed.discard(key)
            if kind == "B":
                found.begun.add(key)
            elif kind == "A":
                found.begun.discard(key)
                found.answered[key] = (str(rest[4]), str(rest[5]))
    return found
