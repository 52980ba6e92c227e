"""Work on what strangers wrote, by libraries of native code, in a process of its own: what brings it down harms nobody.

The process gets no secret, and limits on memory, processor time and output. It is short-lived, and one at a time runs
in each server process, so that a pod's memory holds both.
"""

from __future__ import annotations

import os
import resource
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
    environment = {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)), "MALLOC_ARENA_MAX": "2"}
    with _one_at_a_time:
        try:
            subprocess.run(
                [sys.executable, "-P", "-m", module, *arguments],
                input=given, stdout=output, stderr=subprocess.DEVNULL, env=environment, cwd="/",
                check=True, timeout=_WALL_SECONDS,
            )  # fmt: skip
        except (subprocess.SubprocessError, OSError) as error:
            raise ConfinedError(module) from error


def confine(output_bytes: int) -> None:
    """Take on the limits, `output_bytes` for what is written; before anything of a stranger's is read."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (output_bytes, output_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Should the kernel have to choose, it is not the server that goes.
    Path("/proc/self/oom_score_adj").write_text("1000")
