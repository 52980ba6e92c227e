"""The operator's process with its real caches and webhook, but with reconcilers that do nothing.

Tests of admission create objects that no PostgreSQL or pods stand behind. Settings come from `ELINK_*`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import uvloop
from elink_operator import logs
from elink_operator.cluster.connection import connect
from elink_operator.engine import Engine
from elink_operator.process import Process
from elink_operator.settings import Settings


@dataclass(frozen=True)
class Nothing:
    """The outcome of a reconcile that has nothing to do."""

    requeue_after: float | None = None


async def reconcile(name: str) -> Nothing:
    """Leave the object as it is."""
    return Nothing()


async def main() -> int:
    """Run until SIGTERM."""
    settings = Settings()
    logs.configure(settings.log_level)
    engine = Engine.create(settings, connect(settings.kubeconfig))
    try:
        return await Process(engine, {"tenant": reconcile, "server": reconcile, "restore": reconcile}).run()
    finally:
        await engine.close()


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
