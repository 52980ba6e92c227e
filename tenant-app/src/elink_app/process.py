"""The two long-running roles."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import structlog

from elink_app.accounts.passwords import Passwords
from elink_app.accounts.service import Accounts
from elink_app.accounts.sessions import SessionPolicy
from elink_app.clock import utc_now
from elink_app.dashboard.storage import StorageMeter
from elink_app.database.engines import TenantDatabases
from elink_app.files import DirectoryKeeper
from elink_app.jobs.runner import JobRunner
from elink_app.mail.smtp_server import SmtpServer
from elink_app.ops.health import ops_app
from elink_app.ops.servers import Stop, ops_server, run_servers, web_server
from elink_app.outbox.sender import OutboxSender
from elink_app.registry.client import RegistryClient
from elink_app.registry.directory import TenantDirectory
from elink_app.registry.notices import NoticeReader
from elink_app.registry.tenant import Tenant
from elink_app.registry.wakeups import Wakeups
from elink_app.settings import Settings
from elink_app.telemetry.metrics import Metrics
from elink_app.transfer.cleaner import TransferCleaner
from elink_app.transfer.handlers import make_handlers
from elink_app.transfer.store import FileStore
from elink_app.utilities.handlers import utility_handlers
from elink_app.web.app import WebApp, create_app
from elink_app.web.assets import Assets
from elink_app.web.state import WebState
from elink_app.worker.deliveries import DeliverySender
from elink_app.worker.housekeeping import Housekeeper
from elink_app.worker.inbound import BounceMailboxes
from elink_app.worker.loop import Worker
from elink_app.worker.tasks import TaskRunner, TenantTask

_IDLE_CHECK_SECONDS = 30

log = structlog.get_logger("process")


@dataclass(frozen=True)
class Parts:
    """What both roles are made of."""

    settings: Settings
    metrics: Metrics
    directory: TenantDirectory
    databases: TenantDatabases
    wakeups: Wakeups
    notices: NoticeReader

    @property
    def session_policy(self) -> SessionPolicy:
        """When sessions end."""
        return SessionPolicy(
            idle=timedelta(seconds=self.settings.session_idle_seconds),
            absolute=timedelta(seconds=self.settings.session_absolute_seconds),
        )


def make_parts(settings: Settings) -> Parts:
    """Wire the parts that follow the registry to it."""
    metrics = Metrics()
    directory = TenantDirectory()
    databases = TenantDatabases(settings, metrics)

    def forget(old: Tenant | None, new: Tenant | None) -> None:
        if old is not None and new is None:
            metrics.forget_tenant(old.name)

    directory.on_change(databases.tenant_changed)
    directory.on_change(forget)
    return Parts(settings, metrics, directory, databases, Wakeups(settings), NoticeReader(settings))


def make_web(parts: Parts) -> WebApp:
    """The web application on these parts."""
    accounts = Accounts(parts.databases.transaction, Passwords(), utc_now, parts.session_policy, parts.metrics)
    return create_app(
        WebState(
            parts.settings,
            parts.directory,
            parts.databases,
            accounts,
            Assets(),
            parts.metrics,
            utc_now,
            parts.wakeups,
            parts.notices,
            StorageMeter(utc_now),
        )
    )


def calm_collector() -> None:
    """For a process that makes many small things in batches: what it was loaded with is not looked through again and
    again, and neither is each batch. (An import spent a quarter of its processor time there.)"""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


async def _close_idle(databases: TenantDatabases) -> None:
    while True:
        await asyncio.sleep(_IDLE_CHECK_SECONDS)
        await databases.close_idle()


def make_deliveries(parts: Parts) -> DeliverySender:
    """What sends the deliveries of all tenants; close it after its last run."""
    return DeliverySender(parts.settings, parts.directory, parts.databases, parts.wakeups, parts.metrics, utc_now)


def make_tasks(parts: Parts, deliveries: DeliverySender) -> list[TenantTask]:
    """What the worker does for each tenant."""
    store = FileStore(parts.settings.tenants_dir)
    handlers = {**make_handlers(store, utc_now), **utility_handlers(utc_now)}
    return [
        OutboxSender(parts.settings, parts.databases, utc_now),
        JobRunner(parts.databases, handlers, utc_now),
        deliveries,
        TransferCleaner(parts.databases, store, utc_now, timedelta(days=parts.settings.undo_days)),
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


@contextlib.asynccontextmanager
async def background(parts: Parts) -> AsyncIterator[None]:
    """Follow the registry, make directories and close idle pools meanwhile; clean up at the end."""
    keeper = DirectoryKeeper(parts.settings.tenants_dir)
    parts.directory.on_change(keeper.tenant_changed)
    tasks = [
        asyncio.create_task(RegistryClient(parts.settings, parts.directory, parts.metrics).run()),
        asyncio.create_task(_close_idle(parts.databases)),
        asyncio.create_task(keeper.run()),
    ]
    for task in tasks:
        task.add_done_callback(_report)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await parts.wakeups.close()
        parts.notices.close()
        await parts.databases.close()


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("background task ended", exc_info=task.exception())


async def run_web(settings: Settings) -> None:
    """Serve pages and API until asked to stop."""
    stop = Stop()
    stop.on_signals()
    parts = make_parts(settings)
    web = make_web(parts)
    probes = ops_app(
        alive=lambda: True,
        ready=lambda: parts.directory.loaded and not stop.asked,
        registry=parts.metrics.registry,
    )
    async with background(parts):
        await run_servers(stop, settings, first=[web_server(web.asgi, settings)], last=ops_server(probes, settings))


async def run_worker(settings: Settings) -> None:
    """Do the work that nobody waits for, until asked to stop."""
    calm_collector()
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
