"""Keeps the tenant directory true: reads the registry, listens for changes, and never gives up."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import asyncpg
import structlog

from elink_app.database.connect import open_connection
from elink_app.registry.directory import TenantDirectory
from elink_app.registry.tenant import Tenant, TenantState, parse_tenant
from elink_app.settings import Settings
from elink_app.telemetry.metrics import Metrics

CHANNEL = "elink_registry"
_COLUMNS = (
    "name, uid, host, database, role, directory, state, state_reason, display_name, language, limits, "
    "master_email, setup_token_sha256, setup_expires_at, mail, contacts"
)
_READ_ALL = f"SELECT {_COLUMNS} FROM tenant"  # noqa: S608 - constants
_READ_ONE = f"SELECT {_COLUMNS} FROM tenant WHERE name = $1"  # noqa: S608 - constants
_READ_TIMEOUT = 10.0
_BACK_OFF_FIRST, _BACK_OFF_LAST = 0.5, 10.0
# Beyond this many waiting names one whole reading costs less than so many single ones.
_SINGLE_READS = 50

log = structlog.get_logger("registry")


def parse_rows(rows: list[asyncpg.Record]) -> list[Tenant]:
    """Tenants of the rows that make sense; the others are logged by name and left out."""
    tenants = []
    for row in rows:
        try:
            tenants.append(parse_tenant(dict(row)))
        except (ValueError, TypeError) as error:
            log.error("registry row ignored", tenant=row["name"], wrong=str(error))
    return tenants


class RegistryClient:
    """Runs until cancelled. While the registry is away the last reading goes on being used."""

    def __init__(self, settings: Settings, directory: TenantDirectory, metrics: Metrics) -> None:
        self._settings = settings
        self._directory = directory
        self._metrics = metrics
        self._waiting: set[str] = set()
        self._wake = asyncio.Event()
        self._read_at: float | None = None
        metrics.registry_age.set_function(self._age)

    def _age(self) -> float:
        return time.monotonic() - self._read_at if self._read_at is not None else float("inf")

    async def run(self) -> None:
        """Connect, follow, and on any failure connect again with back-off."""
        back_off = _BACK_OFF_FIRST
        while True:
            try:
                started = time.monotonic()
                await self._follow()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                self._metrics.registry_connected.set(0)
                self._metrics.registry_errors.inc()
                if time.monotonic() - started > _BACK_OFF_LAST:
                    back_off = _BACK_OFF_FIRST
                log.warning("registry connection lost", reason=type(error).__name__, retry_seconds=back_off)
                await asyncio.sleep(back_off)
                back_off = min(back_off * 2, _BACK_OFF_LAST)

    async def _follow(self) -> None:
        connection = await open_connection(self._settings, self._settings.registry_database, timeout=_READ_TIMEOUT)
        try:
            connection.add_termination_listener(lambda _connection: self._wake.set())
            # Listening comes before the reading, so that no change falls between them.
            await connection.add_listener(CHANNEL, self._notified)
            await self._read_all(connection)
            self._metrics.registry_connected.set(1)
            log.info("registry read", tenants=len(self._directory.all()))
            while True:
                # Not `wait_for`: in Python 3.11 it forgets a cancellation that comes together with a change.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._settings.registry_reread_seconds):
                        await self._wake.wait()
                await self._catch_up(connection)
        finally:
            connection.terminate()

    async def _catch_up(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self._wake.clear()
        names, self._waiting = self._waiting, set()
        if connection.is_closed():
            raise ConnectionError
        if not names or len(names) > _SINGLE_READS:
            await self._read_all(connection)
            return
        for name in names:
            row = await connection.fetchrow(_READ_ONE, name, timeout=_READ_TIMEOUT)
            found = parse_rows([row]) if row is not None else []
            self._directory.replace_one(name, found[0] if found else None)
        self._count()

    async def _read_all(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        rows = await connection.fetch(_READ_ALL, timeout=_READ_TIMEOUT)
        self._directory.replace_all(parse_rows(rows))
        self._read_at = time.monotonic()
        self._count()

    def _count(self) -> None:
        tenants = self._directory.all()
        for state in TenantState:
            self._metrics.tenants.labels(state).set(sum(1 for tenant in tenants if tenant.state is state))

    def _notified(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        self._waiting.add(str(payload))
        self._wake.set()
