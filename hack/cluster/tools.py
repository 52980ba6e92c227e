"""kubectl and helm: the user's own where they are installed, the cached ones otherwise."""

from __future__ import annotations

import shutil
from pathlib import Path

from hack.cluster import binaries
from hack.cluster.steps import Steps


def find(name: str, steps: Steps) -> Path:
    """The program's path; fetched into the cache when it is not on PATH."""
    found = shutil.which(name)
    if found:
        return Path(found)
    source = next(source for source in binaries.SOURCES.values() if name in source.programs)
    binaries.ensure([source.name], steps)
    return binaries.program(name)
