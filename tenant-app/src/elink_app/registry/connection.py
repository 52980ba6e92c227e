"""This process's one connection to the registry, for statements that are short and seldom."""

from __future__ import annotations

import asyncio

import asyncpg

from elink_app.database.connect import WrongConnection, open_connection
from elink_app.settings import Settings

_TIMEOUT = 5.0


class RegistryAway(ConnectionError):
    """The registry did not answer; what it says is unknown, not empty."""


class RegistryConnection:
    """Opened at the first use and again after a failure; one statement at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._lock = asyncio.Lock()

    async def fetch(self, statement: str, *values: object) -> list[asyncpg.Record]:
        """What the statement gives; committed when this returns. Raises RegistryAway."""
        try:
            async with self._lock:
                return await (await self._open()).fetch(statement, *values, timeout=_TIMEOUT)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, WrongConnection) as error:
            self.close()
            raise RegistryAway(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _open(self) -> asyncpg.Connection[asyncpg.Record]:
        if self._connection is None or self._connection.is_closed():
            self._connection = await open_connection(self._settings, self._settings.registry_database)
        return self._connection
