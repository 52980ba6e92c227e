"""Runs the worker's tasks for tenants that were woken, and for all of them from time to time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

import structlog

from elink_app.clock import Clock
from elink_app.ops.servers import Stop
from elink_app.registry.directory import TenantDirectory
from elink_app.registry.tenant import Tenant, TenantState
from elink_app.registry.wakeups import Wakeups
from elink_app.settings import Settings
from elink_app.telemetry.metrics import Metrics

_TICK_SECONDS = 0.5
_HUNG_AFTER_SECONDS = 60.0

log = structlog.get_logger("tasks")


class TenantTask(Protocol):
    """A kind of work in a tenant's database. Several processes may run it at once: rows are leased or locked."""

    name: str

    async def run(self, tenant: Tenant, stop: Stop) -> bool:
        """Do what is due; True when there may be more at once. Returns soon after `stop` was asked for."""
        ...


class TaskRunner:
    """Every (task, tenant) at most once at a time in this process; tasks that fail are tried again at the next look."""

    def __init__(
        self,
        settings: Settings,
        directory: TenantDirectory,
        wakeups: Wakeups,
        tasks: Sequence[TenantTask],
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._interval = settings.task_look_seconds
        self._directory = directory
        self._wakeups = wakeups
        self._tasks = tasks
        self._metrics = metrics
        self._clock = clock
        self._slots = asyncio.Semaphore(settings.task_slots)
        self._running: dict[tuple[str, str], asyncio.Task[None]] = {}
        # Woken while it ran: what was new may have come after its last look.
        self._again: set[tuple[str, str]] = set()
        self._looked_at: dict[str, float] = {}
        self._beat_at = time.monotonic()

    def is_alive(self) -> bool:
        """False when the loop has not come round for too long; long tasks do not count."""
        return time.monotonic() - self._beat_at < _HUNG_AFTER_SECONDS

    async def run(self, stop: Stop) -> None:
        """Work until asked to stop; then wait for the tasks under way."""
        while not stop.asked:
            self._beat_at = time.monotonic()
            for tenant in self._due(await self._wakeups.due(self._clock())):
                for task in self._tasks:
                    self._start(task, tenant, stop)
            await stop.wait(_TICK_SECONDS)
        if self._running:
            await asyncio.wait(self._running.values())

    def _due(self, woken: Sequence[str]) -> list[Tenant]:
        now = time.monotonic()
        names = set(woken)
        tenants = [tenant for tenant in self._directory.all() if tenant.state is TenantState.ACTIVE]
        looked_at = {tenant.name: self._looked_at.get(tenant.name, float("-inf")) for tenant in tenants}
        due = [t for t in tenants if t.name in names or now - looked_at[t.name] >= self._interval]
        self._looked_at = looked_at | {tenant.name: now for tenant in due}
        return due

    def _start(self, task: TenantTask, tenant: Tenant, stop: Stop) -> None:
        key = (task.name, tenant.name)
        if key in self._running:
            self._again.add(key)
            return

        def ended(_: asyncio.Task[None]) -> None:
            self._running.pop(key, None)
            if key in self._again:
                self._again.discard(key)
                if not stop.asked:
                    self._start(task, tenant, stop)

        running = asyncio.create_task(self._work(task, tenant, stop), name=f"{task.name} {tenant.name}")
        self._running[key] = running
        running.add_done_callback(ended)

    async def _work(self, task: TenantTask, tenant: Tenant, stop: Stop) -> None:
        try:
            more = True
            while more and not stop.asked and self._directory.get(tenant.name) is not None:
                async with self._slots:
                    more = await task.run(tenant, stop)
            self._metrics.worker_tasks.labels(task.name, "success").inc()
        except Exception as error:
            self._metrics.worker_tasks.labels(task.name, "failure").inc()
            log.warning("task failed; it is tried again", task=task.name, tenant=tenant.name, exc_info=error)
