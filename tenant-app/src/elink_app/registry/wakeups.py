"""Hints that there is work for a tenant's worker, in the registry: written by the web, taken by workers.

A hint may be lost (registry away) without harm: workers look at every tenant from time to time.
"""

from __future__ import annotations

from datetime import datetime

import structlog

from elink_app.registry.connection import RegistryAway, RegistryConnection

_WAKE = "INSERT INTO delivery_wakeup (tenant, due_at) VALUES ($1, coalesce($2, now())) ON CONFLICT DO NOTHING"
_TAKE = "DELETE FROM delivery_wakeup WHERE due_at <= $1 RETURNING tenant"

log = structlog.get_logger("wakeups")


class Wakeups:
    """Writes and takes hints; never raises."""

    def __init__(self, registry: RegistryConnection) -> None:
        self._registry = registry

    async def wake(self, tenant: str, due_at: datetime | None = None) -> None:
        """Ask for the tenant to be looked at, now or at `due_at`. Call it after the commit. Never raises."""
        try:
            await self._registry.fetch(_WAKE, tenant, due_at)
        except RegistryAway as error:
            log.warning("wake-up not written; the worker's regular look will do", tenant=tenant, why=str(error))

    async def due(self, now: datetime) -> list[str]:
        """Take the hints that are due: the names of their tenants, each once. Empty while the registry is away."""
        try:
            rows = await self._registry.fetch(_TAKE, now)
        except RegistryAway as error:
            log.warning("wake-ups not read", why=str(error))
            return []
        return sorted({row["tenant"] for row in rows})
