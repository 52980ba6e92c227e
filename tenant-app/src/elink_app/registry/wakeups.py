"""Hints that there is work for a tenant's worker, in the registry: written by the web, taken by workers.

A hint may be lost (registry away) without harm: workers look at every tenant from time to time.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

import asyncpg
import structlog

from elink_app.database.connect import WrongConnection, open_connection
from elink_app.settings import Settings

_TIMEOUT = 5.0
_WAKE = "INSERT INTO delivery_wakeup (tenant, due_at) VALUES ($1, coalesce($2, now())) ON CONFLICT DO NOTHING"
_TAKE = "DELETE FROM delivery_wakeup WHERE due_at <= $1 RETURNING tenant"

log = structlog.get_logger("wakeups")


class Wakeups:
    """One connection to the registry, opened at the first use and again after a failure."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._lock = asyncio.Lock()

    async def wake(self, tenant: str, due_at: datetime | None = None) -> None:
        """Ask for the tenant to be looked at, now or at `due_at`. Call it after the commit. Never raises."""
        try:
            async with self._lock:
                await (await self._open()).execute(_WAKE, tenant, due_at, timeout=_TIMEOUT)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, WrongConnection) as error:
            self._forget()
            log.warning("wake-up not written; the worker's regular look will do", tenant=tenant, why=str(error))

    async def due(self, now: datetime) -> list[str]:
        """Take the hints that are due: the names of their tenants, each once. Empty while the registry is away."""
        try:
            async with self._lock:
                rows = await (await self._open()).fetch(_TAKE, now, timeout=_TIMEOUT)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, WrongConnection) as error:
            self._forget()
            log.warning("wake-ups not read", why=str(error))
            return []
        return sorted({row["tenant"] for row in rows})

    async def close(self) -> None:
        """Close the connection."""
        self._forget()

    async def _open(self) -> asyncpg.Connection[asyncpg.Record]:
        if self._connection is None or self._connection.is_closed():
            self._connection = await open_connection(self._settings, self._settings.registry_database)
        return self._connection

    def _forget(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
