"""Counting the neighbours of a tenant, before and after something is removed from their server."""

from __future__ import annotations

import asyncio

from elink_operator.database.errors import DatabaseError
from elink_operator.database.model import Census, tenant_marker
from elink_operator.database.sessions import Sessions
from elink_operator.database.snapshot import read_snapshot

_COUNTS = """
SELECT c.relname, (xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM %I.%I', n.nspname, c.relname),
    false, true, '')))[1]::text::bigint
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'public' AND c.relkind = 'r' ORDER BY 1
"""

_CLOSED = "SELECT datname FROM pg_database WHERE NOT datallowconn"


async def take_census(sessions: Sessions, without: str) -> Census:
    """Exact row counts of every table of every tenant database but `without` (its exact name).

    A database that lets nobody in is being dropped: it is left out, and so counts as gone. Raises `DatabaseError`
    when one neighbour cannot be counted: what is not known must not pass for unharmed.
    """
    snapshot = await read_snapshot(sessions)
    async with sessions.admin() as connection:
        closed = {str(row[0]) for row in await connection.fetch(_CLOSED)}
    neighbours = {
        name: fact.oid
        for name, fact in snapshot.databases.items()
        if name != without and name not in closed and fact.marker.startswith(tenant_marker(""))
    }
    counts = await asyncio.gather(*(_count(sessions, name) for name in neighbours))
    return Census({name: (oid, tables) for (name, oid), tables in zip(neighbours.items(), counts, strict=True)})


async def _count(sessions: Sessions, database: str) -> dict[str, int]:
    try:
        async with sessions.into(database) as connection:
            return {str(table): int(rows) for table, rows in await connection.fetch(_COUNTS)}
    except DatabaseError as error:
        raise type(error)(f"neighbour {database} cannot be counted: {error}") from error
