"""Processor time of processes: on a machine that others use too it says more than the clock."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.postgres import Postgres

_HERTZ = os.sysconf("SC_CLK_TCK")


def cpu_of(pid: int, *, reaped: bool = False) -> float:
    """CPU seconds of a process so far, with its ended children when `reaped`."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(value) for value in fields[11 : 15 if reaped else 13]) / _HERTZ


def cpu_of_postgres(postgres: Postgres) -> float:
    """The postmaster with every child, alive or ended. The postmaster runs below setpriv under the same pid."""
    assert postgres.running is not None
    root = postgres.running.pid
    total = cpu_of(root, reaped=True)
    for child in Path(f"/proc/{root}/task/{root}/children").read_text().split():
        try:
            total += cpu_of(int(child))
        except OSError:
            continue
    return total
