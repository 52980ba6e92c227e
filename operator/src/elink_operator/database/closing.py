"""What needs a database without sessions: dropping it, renaming it. Those that come back meanwhile are ended again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import asyncpg

from elink_operator.database.errors import DatabaseInUse
from elink_operator.database.sessions import Connection
from elink_operator.database.sql import ident

# Background workers have no user and give way by themselves; a superuser's session is not ours to end.
_SESSIONS = "FROM pg_stat_activity WHERE datname = ANY($1) AND pid <> pg_backend_pid() AND usesysid IS NOT NULL"
_TERMINATE = f"SELECT count(pg_terminate_backend(pid)) {_SESSIONS} AND pg_has_role(usesysid, 'USAGE')"
_OTHERS = f"SELECT coalesce(string_agg(DISTINCT usename, ', '), '') {_SESSIONS}"
_PATIENCE = 10.0
_PAUSE = 0.2


async def drop_database(connection: Connection, name: str) -> int:
    """Drop exactly this database; returns how many sessions were ended. Raises `DatabaseInUse`."""
    await connection.execute(refuse_connections(name))
    return await execute_alone(connection, [name], f"DROP DATABASE IF EXISTS {ident(name)}")


def refuse_connections(name: str) -> str:
    """SQL: nobody connects any more; who is connected stays. It takes effect with the end of its transaction."""
    return f"ALTER DATABASE {ident(name)} WITH ALLOW_CONNECTIONS false;"


def allow_connections(name: str) -> str:
    """SQL that takes `refuse_connections` back."""
    return f"ALTER DATABASE {ident(name)} WITH ALLOW_CONNECTIONS true;"


async def execute_alone(connection: Connection, names: Sequence[str], statements: str) -> int:
    """End the sessions of exactly these databases, which refuse new ones, and execute.

    Returns how many sessions were ended. Raises `DatabaseInUse` when one stays that may not be ended.
    """
    ended = 0
    deadline = time.monotonic() + _PATIENCE
    while True:
        ended += int(await connection.fetchval(_TERMINATE, list(names)))
        try:
            await connection.execute(statements)
        except asyncpg.ObjectInUseError:
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(_PAUSE)
        else:
            return ended
    others = await connection.fetchval(_OTHERS, list(names))
    raise DatabaseInUse(
        f"database {', '.join(names)} is in use by sessions that may not be ended (of: {others or 'unknown'}): "
        "end them; it is retried"
    )
