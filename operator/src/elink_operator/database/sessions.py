"""Connections of the operator to one PostgreSQL: few, bounded, and left alone for a while after repeated failures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from elink_operator.database.errors import DatabaseUnavailable, translated
from elink_operator.database.model import ServerDb
from elink_operator.naming import REGISTRY_DATABASE
from elink_operator.settings import Settings

Connection: TypeAlias = "asyncpg.Connection | PoolConnectionProxy"
"""A connection of our own, or one that a pool lends: the same methods."""


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
    """Pools into the maintenance database and the registry; single connections into tenants' databases."""

    def __init__(self, server: ServerDb, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.server = server
        self._limits = limits
        self._clock = clock
        self._pools: dict[str, asyncpg.Pool] = {}
        self._opening = asyncio.Lock()
        self._inside = asyncio.Semaphore(limits.connections)
        self._failures = 0
        self._closed_until = 0.0

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[Connection]:
        """A connection for CREATE and DROP."""
        async with self._lend(self.server.maintenance_database) as connection:
            yield connection

    @asynccontextmanager
    async def registry(self) -> AsyncIterator[Connection]:
        """A connection to the registry."""
        async with self._lend(REGISTRY_DATABASE) as connection:
            yield connection

    @asynccontextmanager
    async def into(self, database: str) -> AsyncIterator[Connection]:
        """A short-lived connection to one database; it is closed before this returns, so the database can be copied."""
        async with self._inside, self._guarded():
            connection = await asyncpg.connect(database=database, **self._arguments())
            try:
                yield connection
            finally:
                await connection.close(timeout=self._limits.connect_seconds)

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
        async with self._guarded():
            pool = await self._pool(database)
            async with pool.acquire(timeout=self._limits.statement_seconds) as connection:
                yield connection

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
    async def _guarded(self) -> AsyncIterator[None]:
        """The circuit breaker: a PostgreSQL that is down costs its callers no waiting."""
        if self._clock() < self._closed_until:
            raise DatabaseUnavailable(
                f"PostgreSQL of server {self.server.name} failed repeatedly and is left alone for now; it is retried"
            )
        try:
            with translated(self.server.name):
                yield
        except DatabaseUnavailable:
            self._failures += 1
            if self._failures >= self._limits.breaker_failures:
                self._closed_until = self._clock() + self._limits.breaker_seconds
                self._failures = 0
            raise
        self._failures = 0

    def _arguments(self) -> dict[str, Any]:
        server = self.server
        return {
            "host": server.host,
            "port": server.port,
            "user": server.user,
            "password": server.password,
            "ssl": "require" if server.tls else "prefer",
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
