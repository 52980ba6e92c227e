"""Advisory locks: two operators at once, by accident or in a hand-over, do not work on the same thing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg

from elink_operator.database.sessions import Connection
from elink_operator.database.sql import lock_key


@asynccontextmanager
async def held(connection: Connection, *name: str) -> AsyncIterator[None]:
    """Wait for the lock `name` (until lock_timeout) and hold it."""
    await connection.execute("SELECT pg_advisory_lock($1)", lock_key(*name))
    try:
        yield
    finally:
        await _release(connection, *name)


@asynccontextmanager
async def tried(connection: Connection, *name: str) -> AsyncIterator[bool]:
    """Hold the lock `name` if it is free; gives whether it was."""
    got = bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", lock_key(*name)))
    try:
        yield got
    finally:
        if got:
            await _release(connection, *name)


async def _release(connection: Connection, *name: str) -> None:
    # A connection that is gone has taken its locks along; its error must not hide the one that ended the work.
    with suppress(asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresError, OSError):
        await connection.execute("SELECT pg_advisory_unlock($1)", lock_key(*name))
