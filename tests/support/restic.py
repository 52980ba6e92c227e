"""restic for tests: the very version that the backup image has, built once from its Go module."""

from __future__ import annotations

import sys
from pathlib import Path

from hack.cluster import binaries
from hack.cluster.config import cache_dir
from hack.cluster.steps import Steps


def find_restic() -> Path:
    """The program; the first call on a machine takes some minutes."""
    source = binaries.SOURCES["restic"]
    if not source.folder.is_dir():
        binaries.ensure(("restic",), Steps(cache_dir() / "logs", out=sys.stderr))
    return source.path("restic")
