"""The restic command, watched: what makes no progress, or tries again what cannot succeed, is ended with its reason."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from elink_backup import errors
from elink_backup.errors import BackupError
from elink_backup.location import Location

_LITTLE = 64 << 10
"""Bytes that an idle process may move by itself; less than this is no progress."""
_HOPELESS = frozenset({errors.STORE_FULL, errors.STORE_READ_ONLY, errors.WRONG_LOGIN})
_TRIES = 3
"""restic tries each request again for a quarter of an hour; for these reasons a few times are enough."""
_LINES = 200


@dataclass
class Running:
    """One command: `out` while it runs, the rest when `restic()` has ended."""

    action: str
    out: IO[bytes]
    code: int = 0
    said: str = ""

    def judge(self) -> None:
        """Raise when it failed."""
        if self.code != 0:
            raise BackupError(
                f"restic {self.action} failed: {tail(self.said)}", errors.store_reason(self.code, self.said)
            )


@contextmanager
def restic(
    location: Location, key: Path, stall: float, arguments: Sequence[str], cwd: Path | None = None
) -> Iterator[Running]:
    """Run one command on the repository. It is ended when `stall` seconds pass without progress (`BackupError`)."""
    command = ["restic", "--no-cache", "--repo", location.url, "--password-file", str(key)]
    # GOGC: half of Go's default heap, as many small jobs share a node.
    environment = {"GOGC": "50", **os.environ, **location.environment}
    with subprocess.Popen(
        [*command, *location.arguments, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd=cwd,
    ) as process:  # fmt: skip
        assert process.stdout is not None  # noqa: S101 - for the type checker
        running = Running(arguments[0], process.stdout)
        watch = _Watch(process, stall)
        try:
            yield running
            # What nobody reads would keep it from ending.
            while process.stdout.read(1 << 20):
                pass
            running.code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
            watch.join()
        running.said = watch.said
        if watch.hopeless:
            raise BackupError(f"restic {arguments[0]} was ended: {tail(watch.said)}", watch.hopeless)
        if watch.stalled:
            raise _stalled(location, arguments[0], stall, watch.said)


def tail(text: str) -> str:
    """The end of what a program said, in one line."""
    return " ".join(text.split())[-500:]


def _stalled(location: Location, action: str, stall: float, said: str) -> BackupError:
    if location.is_full():
        return BackupError(f"restic {action} found no room in the store", errors.STORE_FULL)
    reason = errors.store_reason(1, said)
    if reason != errors.BACKUP_FAILED:
        return BackupError(f"restic {action} came no further: {tail(said)}", reason)
    return BackupError(
        f"restic {action} made no progress for {stall:.0f} s: is the store overloaded?", errors.STORE_TOO_SLOW
    )


@dataclass
class _Watch:
    """Reads what the process complains of, and kills it when it hangs."""

    process: subprocess.Popen[bytes]
    stall: float
    stalled: bool = False
    hopeless: str = ""
    _lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES))
    _threads: list[threading.Thread] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._listen, self._look)]
        for thread in self._threads:
            thread.start()

    @property
    def said(self) -> str:
        return "\n".join(self._lines)

    def join(self) -> None:
        """Wait for both threads; the process has ended."""
        self.process.wait()
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _listen(self) -> None:
        assert self.process.stderr is not None  # noqa: S101 - for the type checker
        tried: dict[str, int] = {}
        for line in self.process.stderr:
            text = line.decode(errors="replace").strip()
            self._lines.append(text)
            reason = errors.store_reason(1, text) if "retrying after" in text else ""
            if reason in _HOPELESS:
                tried[reason] = tried.get(reason, 0) + 1
                if tried[reason] >= _TRIES:
                    self.hopeless = reason
                    self.process.kill()

    def _look(self) -> None:
        moved, since = _moved(self.process.pid), time.monotonic()
        while not self._ended.wait(min(self.stall / 4, 5)):
            now = _moved(self.process.pid)
            if now is None:
                return
            if moved is None or now - moved >= _LITTLE:
                moved, since = now, time.monotonic()
            elif time.monotonic() - since > self.stall and self.process.poll() is None:
                self.stalled = True
                self.process.kill()
                return


def _moved(pid: int) -> int | None:
    """Bytes that a process has read and written so far, to files, pipes and the network; None: it has ended."""
    with suppress(OSError):
        counters = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
        return int(counters["rchar"]) + int(counters["wchar"])
    return None
