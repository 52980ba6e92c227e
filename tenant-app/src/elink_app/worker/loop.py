"""The worker's round: every Active tenant gets its housekeeping, spread over the interval."""

from __future__ import annotations

import time

import structlog

from elink_app.ops.servers import Stop
from elink_app.registry.directory import TenantDirectory
from elink_app.registry.tenant import TenantState
from elink_app.settings import Settings
from elink_app.telemetry.metrics import Metrics
from elink_app.worker.housekeeping import Housekeeper

_TICK_SECONDS = 1.0
# A round is short pieces of work: silence for this long means that the loop hangs.
_HUNG_AFTER_SECONDS = 300.0

log = structlog.get_logger("worker")


class Worker:
    """Looks at the clock every second; one tenant that fails holds up no other."""

    def __init__(
        self, settings: Settings, directory: TenantDirectory, housekeeper: Housekeeper, metrics: Metrics
    ) -> None:
        self._interval = settings.housekeeping_seconds
        self._directory = directory
        self._housekeeper = housekeeper
        self._metrics = metrics
        self._done_at: dict[str, float] = {}
        self._beat_at = time.monotonic()

    def is_alive(self) -> bool:
        """False when the loop has not come round for too long."""
        return time.monotonic() - self._beat_at < _HUNG_AFTER_SECONDS

    async def run(self, stop: Stop) -> None:
        """Work until asked to stop; what was begun for a tenant is finished."""
        while not stop.asked:
            self._beat()
            await self.round(stop)
            await stop.wait(_TICK_SECONDS)

    async def round(self, stop: Stop) -> None:
        """Housekeeping of every tenant whose turn it is."""
        tenants = self._directory.all()
        active = [tenant for tenant in tenants if tenant.state is TenantState.ACTIVE]
        self._done_at = {name: at for name, at in self._done_at.items() if self._directory.get(name)}
        for tenant in active:
            if stop.asked:
                return
            if time.monotonic() - self._done_at.get(tenant.name, float("-inf")) < self._interval:
                continue
            self._done_at[tenant.name] = time.monotonic()
            try:
                await self._housekeeper.clean(tenant)
                self._metrics.worker_rounds.labels("success").inc()
            except Exception as error:
                self._metrics.worker_rounds.labels("failure").inc()
                log.warning("housekeeping failed", tenant=tenant.name, exc_info=error)
            self._beat()

    def _beat(self) -> None:
        self._beat_at = time.monotonic()
        self._metrics.worker_heartbeat.set_to_current_time()
