"""Connections of the operator to one PostgreSQL: few, bounded, and left alone for a while after repeated failures."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from elink_operator.database.breaker import Breaker
from elink_operator.database.errors import DatabaseUnavailable, translated
from elink_operator.database.model import ServerDb
from elink_operator.naming import REGISTRY_DATABASE
from elink_operator.settings import Settings
from elink_operator.trust import client_context

Connection: TypeAlias = "asyncpg.Connection | PoolConnectionProxy"
"""A connection of our own, or one that a pool lends: the same methods."""

_INSIDE = ""
"""The key of the turns for single connections into tenants' databases."""


@dataclass(frozen=True)
class Limits:
    """Connections per pool; times in seconds; failures in a row that open the breaker."""

    connections: int = 4
    statement_seconds: float = 30
    connect_seconds: float = 5
    breaker_failures: int = 3
    breaker_seconds: float = 15

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """What the operator's settings say."""
        return cls(
            settings.database_connections,
            settings.database_timeout_seconds,
            settings.database_connect_timeout_seconds,
            settings.breaker_failures,
            settings.breaker_seconds,
        )


class Sessions:
    """Pools into the maintenance database and the registry; single connections into tenants' databases.

    Callers wait in turn for a connection. When the server turns out to be down, all who wait fail at once.
    """

    def __init__(self, server: ServerDb, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.server = server
        self._limits = limits
        self._breaker = Breaker(limits.breaker_failures, limits.breaker_seconds, clock)
        self._pools: dict[str, asyncpg.Pool] = {}
        self._opening = asyncio.Lock()
        self._turns = {
            name: asyncio.Semaphore(limits.connections)
            for name in (server.maintenance_database, REGISTRY_DATABASE, _INSIDE)
        }

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[Connection]:
        """A connection for CREATE and DROP."""
        database = self.server.maintenance_database
        async with self._turns[database], self._use(self._lend(database)) as connection:
            yield connection

    @asynccontextmanager
    async def registry(self) -> AsyncIterator[Connection]:
        """A connection to the registry."""
        async with self._turns[REGISTRY_DATABASE], self._use(self._lend(REGISTRY_DATABASE)) as connection:
            yield connection

    @asynccontextmanager
    async def into(self, database: str) -> AsyncIterator[Connection]:
        """A short-lived connection to one database; it is closed before this returns, so the database can be copied."""
        async with self._turns[_INSIDE], self._use(self._open(database)) as connection:
            yield connection

    async def accepts(self, user: str, password: str, database: str) -> bool:
        """Whether `user` may log in to `database` with `password`."""
        try:
            connection = await asyncpg.connect(
                **{**self._arguments(), "user": user, "password": password, "database": database}
            )
        except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InsufficientPrivilegeError):
            return False
        except (asyncpg.PostgresError, OSError, TimeoutError):
            with translated(self.server.name):
                raise
        await connection.close(timeout=self._limits.connect_seconds)
        return True

    async def close(self) -> None:
        """Close every pool; connections in use are cut."""
        for pool in self._pools.values():
            pool.terminate()
        self._pools.clear()

    @asynccontextmanager
    async def _lend(self, database: str) -> AsyncIterator[Connection]:
        pool = await self._pool(database)
        async with pool.acquire(timeout=self._limits.statement_seconds) as connection:
            yield connection

    @asynccontextmanager
    async def _open(self, database: str) -> AsyncIterator[Connection]:
        connection = await asyncpg.connect(database=database, **self._arguments())
        try:
            yield connection
        finally:
            await connection.close(timeout=self._limits.connect_seconds)

    async def _pool(self, database: str) -> asyncpg.Pool:
        async with self._opening:
            if database not in self._pools:
                self._pools[database] = await asyncpg.create_pool(
                    database=database,
                    min_size=0,
                    max_size=self._limits.connections,
                    max_inactive_connection_lifetime=30,
                    **self._arguments(),
                )
            return self._pools[database]

    @asynccontextmanager
    async def _use(self, opening: AbstractAsyncContextManager[Connection]) -> AsyncIterator[Connection]:
        """A connection, unless the server is known to be down. Errors come out translated."""
        tries = self._breaker.admit()
        if tries is None:
            raise DatabaseUnavailable(
                f"PostgreSQL of server {self.server.name} failed repeatedly and is left alone for now; it is retried"
            )
        try:
            with translated(self.server.name):
                async with opening as connection:
                    if tries:
                        await connection.execute("SELECT 1")
                    self._breaker.answered()
                    yield connection
        except DatabaseUnavailable as error:
            self._breaker.failed(error)
            raise
        finally:
            self._breaker.leave(tried=tries)

    @cached_property
    def _tls(self) -> ssl.SSLContext | str:
        """What the driver is told. As for libpq, an authority is asked by every mode that demands encryption."""
        mode = self.server.sslmode or "prefer"
        if not self.server.authority or mode in ("disable", "prefer"):
            return mode
        context = client_context(pem=self.server.authority)
        context.check_hostname = mode == "verify-full"
        return context

    def _arguments(self) -> dict[str, Any]:
        server = self.server
        return {
            "host": server.host,
            "port": server.port,
            "user": server.user,
            "password": server.password,
            "ssl": self._tls,
            "timeout": self._limits.connect_seconds,
            "command_timeout": self._limits.statement_seconds,
            # Statements here are few and differ by name: caching them would only cost memory.
            "statement_cache_size": 0,
            "server_settings": {
                "application_name": "elink-operator",
                "lock_timeout": "10s",
                "standard_conforming_strings": "on",
                "idle_in_transaction_session_timeout": "60s",
            },
        }
