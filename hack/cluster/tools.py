"""kubectl and helm: the user's own where they are installed, the cached ones otherwise."""

from __future__ import annotations

import shutil
from pathlib import Path

from hack.cluster import binaries
from hack.cluster.steps import StepError, Steps

_BY_HAND = {
    "kind": "https://kind.sigs.k8s.io/docs/user/quick-start/",
    "kubectl": "https://kubernetes.io/docs/tasks/tools/",
    "helm": "https://helm.sh/docs/intro/install/",
}


def find(name: str, steps: Steps) -> Path:
    """The program's path; fetched into the cache when it is not on PATH."""
    found = shutil.which(name)
    if found:
        return Path(found)
    source = next(source for source in binaries.SOURCES.values() if name in source.programs)
    try:
        binaries.ensure([source.name], steps)
    except StepError as error:
        advice = f"{error.advice} Or install {name} yourself: {_BY_HAND[name]}".strip()
        raise StepError(str(error), log=error.log, advice=advice) from error
    return binaries.program(name)
