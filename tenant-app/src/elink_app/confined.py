"""Work on what strangers wrote, by libraries of native code, in a process of its own: what brings it down harms nobody.

The process gets no secret, and limits on memory, processor time and output. What `run` runs is short-lived, and one at
a time runs in each server process, so that a pod's memory holds both.
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

MEMORY_BYTES = 320 << 20
CPU_SECONDS = 20
# Processor time is limited; a machine that is too busy to give any needs another limit.
_WALL_SECONDS = 120
_one_at_a_time = threading.BoundedSemaphore(1)


class ConfinedError(Exception):
    """The work ran into a limit, or its library failed."""


def run(module: str, arguments: Sequence[str], given: bytes, output: IO[bytes]) -> None:
    """Run `python -m module` with `given` as its standard input and `output`, a real file, as its standard output.

    Raises ConfinedError. Blocks: for threads.
    """
    with _one_at_a_time:
        try:
            subprocess.run(
                [*_command(module), *arguments],
                input=given, stdout=output, stderr=subprocess.DEVNULL, env=_environment(), cwd="/",
                check=True, timeout=_WALL_SECONDS,
            )  # fmt: skip
        except (subprocess.SubprocessError, OSError) as error:
            raise ConfinedError(module) from error


def start(module: str) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start `python -m module` with one end of a connection as its standard input; the other end is returned.

    The process is to end when it is closed: the kernel closes it when this process is killed. Raises OSError.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(
                _command(module),
                stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env=_environment(), cwd="/",
            )  # fmt: skip
        except OSError:
            ours.close()
            raise
    return process, ours


def _command(module: str) -> list[str]:
    return [sys.executable, "-P", "-m", module]


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)), "MALLOC_ARENA_MAX": "2"}


def confine(output_bytes: int, cpu_seconds: int = CPU_SECONDS) -> None:
    """Take on the limits, `output_bytes` for what is written to files; before anything of a stranger's is read."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (output_bytes, output_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Should the kernel have to choose, it is not the server that goes.
    Path("/proc/self/oom_score_adj").write_text("1000")


def allow(cpu_seconds: int) -> None:
    """So much processor time from now on, for a process that lasts: confine it with `resource.RLIM_INFINITY`."""
    used = sum(os.times()[:2])
    resource.setrlimit(resource.RLIMIT_CPU, (int(used) + cpu_seconds, resource.RLIM_INFINITY))
