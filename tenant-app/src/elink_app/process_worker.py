"""The role that does what nobody waits for. It loads nothing of the web application: that is a third of its memory."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
from collections.abc import AsyncIterator
from datetime import timedelta

from elink_app.attachments.cleaner import AttachmentCleaner
from elink_app.clock import utc_now
from elink_app.jobs.runner import JobRunner
from elink_app.mail.smtp_server import SmtpServer
from elink_app.ops.health import ops_app
from elink_app.ops.servers import Stop, ops_server, run_servers
from elink_app.outbox.sender import OutboxSender
from elink_app.process import Parts, background, make_parts
from elink_app.settings import Settings
from elink_app.transfer.cleaner import TransferCleaner
from elink_app.transfer.handlers import make_handlers
from elink_app.transfer.reader import Reader
from elink_app.transfer.store import FileStore
from elink_app.utilities.handlers import utility_handlers
from elink_app.worker.deliveries import DeliverySender
from elink_app.worker.housekeeping import Housekeeper
from elink_app.worker.inbound import BounceMailboxes
from elink_app.worker.loop import Worker
from elink_app.worker.tasks import TaskRunner, TenantTask


def tune_interpreter() -> None:
    """For a process that makes many small things in batches.

    What it was loaded with is not looked through for garbage again and again, and neither is each batch: an import
    spent a quarter of its processor time there. And threads, which merge rows and sign mails, give way ten times as
    often as usual: the event loop waited 5 ms for the GIL after each answer of the database (an import that read its
    file in a thread: 2,642 -> 3,360 rows/s).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    sys.setswitchinterval(0.0005)


def make_deliveries(parts: Parts) -> DeliverySender:
    """What sends the deliveries of all tenants; close it after its last run."""
    return DeliverySender(parts.settings, parts.directory, parts.databases, parts.registry, parts.metrics, utc_now)


def make_tasks(parts: Parts, deliveries: DeliverySender) -> list[TenantTask]:
    """What the worker does for each tenant."""
    store = FileStore(parts.settings.tenants_dir)
    handlers = {**make_handlers(store, utc_now, Reader()), **utility_handlers(utc_now)}
    return [
        OutboxSender(parts.settings, parts.databases, utc_now),
        JobRunner(parts.databases, handlers, utc_now),
        deliveries,
        TransferCleaner(parts.databases, store, utc_now, timedelta(days=parts.settings.undo_days)),
        AttachmentCleaner(parts.databases, store, utc_now),
    ]


@contextlib.asynccontextmanager
async def receiving_bounces(parts: Parts) -> AsyncIterator[None]:
    """Take what comes back about mails, where the platform gave a domain for it."""
    settings = parts.settings
    if not settings.bounce_domain:
        yield
        return
    boxes = BounceMailboxes(
        settings.bounce_domain, parts.directory, parts.databases.transaction, parts.metrics, utc_now
    )
    server = await SmtpServer(settings.bounce_domain, boxes).start(settings.listen_host, settings.inbound_port)
    try:
        yield
    finally:
        server.close()


async def run(settings: Settings) -> None:
    """Do the work that nobody waits for, until asked to stop."""
    tune_interpreter()
    stop = Stop()
    stop.on_signals()
    parts = make_parts(settings)
    housekeeper = Housekeeper(
        parts.databases, parts.metrics, utc_now, parts.session_policy, timedelta(days=settings.undo_days)
    )
    worker = Worker(settings, parts.directory, housekeeper, parts.metrics)
    deliveries = make_deliveries(parts)
    tasks = make_tasks(parts, deliveries)
    runner = TaskRunner(settings, parts.directory, parts.wakeups, tasks, parts.metrics, utc_now)
    probes = ops_app(
        alive=lambda: worker.is_alive() and runner.is_alive(),
        ready=lambda: parts.directory.loaded and not stop.asked,
        registry=parts.metrics.registry,
    )
    async with background(parts), receiving_bounces(parts):
        working = asyncio.gather(worker.run(stop), runner.run(stop))
        await run_servers(stop, settings, first=[], last=ops_server(probes, settings))
        stop.now()
        await working
        await deliveries.close()
