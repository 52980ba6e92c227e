"""Finding processes without trusting bare numbers: a PID counts only together with the process's start time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hack.cluster.steps import write_atomic

_PROC = Path("/proc")


def start_time(pid: int) -> str | None:
    """The kernel's start time of a process (clock ticks since boot), or None when there is no such process."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in {"Z", "X"} else fields[19]


def record(file: Path, pid: int) -> None:
    """Write `<pid> <start time>`."""
    write_atomic(file, f"{pid} {start_time(pid)}\n")


def recorded(file: Path) -> int | None:
    """The PID in `file` when that very process still runs."""
    try:
        pid, started = file.read_text().split()
    except (OSError, ValueError):
        return None
    return int(pid) if pid.isdigit() and start_time(int(pid)) == started else None


def spawn(command: Sequence[str], log: Path) -> int:
    """Start a process that outlives this one, in a session of its own; returns its PID."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/"
        )
    process.returncode = 0  # it is left running on purpose
    return process.pid


def everyone() -> Iterator[int]:
    """All PIDs of this PID namespace."""
    for entry in os.listdir(_PROC) if _PROC.is_dir() else ():  # a Mac has none, and no native cluster either
        if entry.isdigit():
            yield int(entry)


def command_line(pid: int) -> list[str]:
    """A process's arguments; empty when it is gone or a kernel thread."""
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def matching(test: Callable[[list[str]], bool]) -> list[int]:
    """PIDs of live processes whose arguments satisfy `test`."""
    return [pid for pid in everyone() if test(command_line(pid)) and start_time(pid) is not None]


def children(pid: int) -> list[int]:
    """Direct children of a process."""
    found: list[int] = []
    for task in (_PROC / str(pid) / "task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(item) for item in task.read_text().split()]
    return found


def end(pid: int, *, patience: float = 5.0) -> bool:
    """SIGTERM, then SIGKILL; whether the process is gone."""
    started = start_time(pid)
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if started is None or start_time(pid) != started:
            return True
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sign)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and start_time(pid) == started:
            time.sleep(0.02)
    return start_time(pid) != started
