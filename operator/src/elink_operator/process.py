"""One process of the operator: kopf, engine and workers; the order in which they start and stop."""

import asyncio
import contextlib
import ctypes
import gc
import signal
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final

import kopf
import structlog

from elink_operator import handlers, health
from elink_operator.cluster.lease import LeaseLost
from elink_operator.controller import Controller, Reconcile
from elink_operator.engine import Chore, Engine
from elink_operator.handlers import admission, authors, restores, servers, startup, tenants
from elink_operator.handlers.memo import OperatorMemo
from elink_operator.workqueue import KeyKind

log = structlog.get_logger()

HANDLERS: Final = (tenants, servers, restores, admission, authors, startup)
"""Every module with handlers: importing it registers them."""

_DRAIN_SECONDS: Final = 15.0
"""For runs in progress after SIGTERM; with the rest it stays below the pod's grace period of 30 s."""
_LOST_SECONDS: Final = 2.0
"""For cancelled runs after the Lease was lost; a rival starts 5 s after we noticed."""
_KOPF_SECONDS: Final = 5.0
_SETTLE_SECONDS: Final = 5.0


class Process:
    """Starts everything, waits for a signal or a failure, stops everything. `run` is called once."""

    def __init__(self, engine: Engine, reconciles: Mapping[KeyKind, Reconcile], chores: Sequence[Chore] = ()) -> None:
        self.stop = asyncio.Event()
        self._engine = engine
        self._chores = chores
        self._controller: Controller = engine.controller(reconciles)
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._kopf_stop = asyncio.Event()

    async def run(self) -> int:
        """0 after SIGTERM, SIGINT or `stop`; 1 when a part failed or the Lease was lost."""
        engine = self._engine
        app = health.application(engine.metrics, live=engine.not_live, ready=engine.not_ready)
        runner = await health.serve(app, engine.settings.metrics_port)
        try:
            for name, work in engine.background().items():
                self._start(name, work)
            self._start("kopf", self._kopf())
            self._start("leader", engine.lead(self._controller, self._chores))
            self._start("memory", self._settle())
            stopping = self._start("stop", self._wait_for_stop())
            await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                return await self._stop_gracefully()
            return await self._stop_after_failure()
        finally:
            await self._cancel(list(self._tasks), _LOST_SECONDS)
            await runner.cleanup()

    def _start(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        self._tasks[name] = asyncio.create_task(work, name=name)
        return self._tasks[name]

    async def _kopf(self) -> None:
        engine = self._engine
        memo = OperatorMemo(engine.settings, engine.connection, engine.triggers, engine.world)
        existing = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=handlers.REGISTRY, memo=memo, clusterwide=True, stop_flag=self._kopf_stop
        )
        self._handle_signals()
        # kopf cancels what it finds in the loop when it ends; what exists already is not its own.
        await kopf.run_tasks(tasks, ignored=existing)

    def _handle_signals(self) -> None:
        """Replace kopf's handlers, which would stop the event source before the workers."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                loop.add_signal_handler(number, self._signalled, number)
            except (ValueError, RuntimeError, NotImplementedError):
                # Not the main thread (tests): nobody sends signals there.
                return

    def _signalled(self, number: signal.Signals) -> None:
        log.info("stopping", signal=signal.Signals(number).name)
        self.stop.set()

    async def _wait_for_stop(self) -> None:
        await self.stop.wait()

    async def _settle(self) -> None:
        """When the first lists are worked off, give their memory back and spare the collector what is left."""
        await self._engine.wait_synced()
        _trim()
        await asyncio.sleep(_SETTLE_SECONDS)
        gc.collect()
        gc.freeze()
        _trim()
        await asyncio.Event().wait()

    async def _stop_gracefully(self) -> int:
        """Finish the runs in progress, then give the Lease back, then stop listening."""
        self._engine.triggers.active = False
        if not await self._controller.drain(_DRAIN_SECONDS):
            log.warning("runs in progress were cancelled", running=self._engine.queue.running)
        await self._cancel(["leader"], _LOST_SECONDS)
        await self._cancel(["elector"], _LOST_SECONDS)
        if self._engine.elector is not None:
            await self._engine.elector.release()
        self._kopf_stop.set()
        await asyncio.wait([self._tasks["kopf"]], timeout=_KOPF_SECONDS)
        log.info("stopped")
        return 0

    async def _stop_after_failure(self) -> int:
        """A part ended by itself: report it, stop writing at once, leave the rest to the restart."""
        self._engine.triggers.active = False
        for name, task in self._tasks.items():
            if not task.done():
                continue
            error = None if task.cancelled() else task.exception()
            if isinstance(error, LeaseLost):
                log.error("leadership lost", error=str(error))
            else:
                log.error("a part of the operator ended", part=name, exc_info=error)
        await self._cancel(["leader"], _LOST_SECONDS)
        await self._cancel(["elector"], _LOST_SECONDS)
        if self._engine.elector is not None:
            await self._engine.elector.release()
        return 1

    async def _cancel(self, names: list[str], seconds: float) -> None:
        tasks = [self._tasks[name] for name in names if name in self._tasks]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)


def _trim() -> None:
    """Give free memory back to the system."""
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
