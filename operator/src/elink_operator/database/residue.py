"""What PostgreSQL keeps of what was dropped, and how it is got rid of.

The files of a dropped database are gone at once. Its rows stand in the write-ahead log as well, its name in free space
of the catalogs, and the registry's row (contacts, mail address) in that of the registry, until they are written over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import asyncpg

from elink_operator.database.errors import DatabaseError
from elink_operator.database.sessions import Connection, Sessions

_REGISTRY = ("tenant", "delivery_wakeup", "notice", "database_switch", "domain_pace")
_CATALOGS = ("pg_database", "pg_authid")
_PATIENCE = 300.0
"""Seconds for a checkpoint: it writes whatever is in memory."""
_LOCK = "SET lock_timeout = '200ms'"
"""Who connects waits behind whoever waits for a catalog, and a backup of a neighbour reads it until its end."""
_DEAD = re.compile(r"(\d+) dead row versions cannot be removed yet")
_LEFT = "SELECT count(*) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$' AND name <= $1"


@dataclass(frozen=True)
class Residue:
    """What was got rid of. An empty text: the operator may not, and it stays until PostgreSQL writes over it."""

    registry: str
    catalogs: str
    log: str


async def clear_residue(sessions: Sessions) -> Residue:
    """Rewrite what held names and contacts, and let the write-ahead log go. Raises while something keeps old rows."""
    async with sessions.registry() as connection:
        await connection.execute(_LOCK)
        for table in _REGISTRY:
            await _rewrite(connection, table)
    async with sessions.admin() as connection:
        await connection.execute(_LOCK)
        catalogs = [await _rewrite(connection, table) for table in _CATALOGS]
        log = await _let_go(connection)
    return Residue("rewritten without dead rows", "rewritten without dead rows" if all(catalogs) else "", log)


async def _rewrite(connection: Connection, table: str) -> bool:
    """Write a table anew; False when the operator may not, of which PostgreSQL only warns."""
    heard: list[str] = []

    def listen(_: Any, message: asyncpg.PostgresLogMessage) -> None:
        heard.append(str(getattr(message, "detail", "") or ""))

    which = "SELECT pg_relation_filenode($1::text::regclass)"
    before = await connection.fetchval(which, table)
    connection.add_log_listener(listen)
    try:
        await connection.execute(f"VACUUM (FULL, VERBOSE) {table}", timeout=_PATIENCE)
    except asyncpg.LockNotAvailableError as error:
        raise DatabaseError(f"somebody reads {table}, such as a backup of a neighbour; it is retried") from error
    finally:
        connection.remove_log_listener(listen)
    if await connection.fetchval(which, table) == before:
        return False
    kept = [int(found[1]) for text in heard if (found := _DEAD.search(text))]
    if not kept or any(kept):
        raise DatabaseError(
            f"a transaction that runs keeps dead rows of {table}, which name the tenant: a backup of a neighbour, or "
            "see pg_stat_activity.backend_xmin; it is retried"
        )
    return True


async def _let_go(connection: Connection) -> str:
    """End the present segment of the write-ahead log and have all up to it removed; empty when that may not be."""
    try:
        if await connection.fetchval("SELECT current_setting('wal_recycle')") != "off":
            # Files that are used again keep what was in them.
            return ""
        last = await connection.fetchval("SELECT pg_walfile_name(pg_switch_wal())")
        await connection.execute("CHECKPOINT", timeout=_PATIENCE)
        left = int(await connection.fetchval(_LEFT, last))
    except asyncpg.InsufficientPrivilegeError:
        return ""
    # A replication slot or wal_keep_size keeps segments: how long is not ours to know.
    return "" if left else f"all segments up to {last} removed"
