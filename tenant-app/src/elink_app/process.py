"""What both long-running roles are made of; the roles are in `process_web` and `process_worker`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import structlog

from elink_app.accounts.sessions import SessionPolicy
from elink_app.database.engines import TenantDatabases
from elink_app.files import DirectoryKeeper
from elink_app.registry.client import RegistryClient
from elink_app.registry.connection import RegistryConnection
from elink_app.registry.directory import TenantDirectory
from elink_app.registry.notices import NoticeReader
from elink_app.registry.tenant import Tenant
from elink_app.registry.wakeups import Wakeups
from elink_app.settings import Settings
from elink_app.telemetry.metrics import Metrics

_IDLE_CHECK_SECONDS = 30

log = structlog.get_logger("process")


@dataclass(frozen=True)
class Parts:
    """The parts of either role."""

    settings: Settings
    metrics: Metrics
    directory: TenantDirectory
    databases: TenantDatabases
    registry: RegistryConnection
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
    registry = RegistryConnection(settings)
    return Parts(settings, metrics, directory, databases, registry, Wakeups(registry), NoticeReader(registry))


async def _close_idle(databases: TenantDatabases) -> None:
    while True:
        await asyncio.sleep(_IDLE_CHECK_SECONDS)
        await databases.close_idle()


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
        parts.registry.close()
        await parts.databases.close()


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("background task ended", exc_info=task.exception())
