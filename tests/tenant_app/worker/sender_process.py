"""The worker's deliveries as a process to be killed: `python -m tests.tenant_app.worker.sender_process`."""

from __future__ import annotations

import asyncio

import uvloop
from elink_app.clock import utc_now
from elink_app.ops.servers import Stop
from elink_app.process import background, make_parts
from elink_app.process_worker import make_deliveries, tune_interpreter
from elink_app.settings import Settings
from elink_app.telemetry.logs import configure_logs
from elink_app.worker.tasks import TaskRunner


async def main() -> None:
    """Deliveries of every tenant, as `elink-app worker` does them but without its ports, until SIGTERM."""
    tune_interpreter()
    settings = Settings(role="worker")
    configure_logs("INFO", server="test", role="worker", version="test")
    parts = make_parts(settings)
    stop = Stop()
    stop.on_signals()
    sender = make_deliveries(parts)
    runner = TaskRunner(settings, parts.directory, parts.wakeups, [sender], parts.metrics, utc_now)
    async with background(parts):
        while not parts.directory.loaded:  # noqa: ASYNC110 - a loop of another task makes it true
            await asyncio.sleep(0.02)
        await runner.run(stop)
        await sender.close()


if __name__ == "__main__":
    uvloop.run(main())
