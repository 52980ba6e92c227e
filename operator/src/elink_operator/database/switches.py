"""The record of which database a restore has put in place of which (registry.sql)."""

from __future__ import annotations

from datetime import timedelta

from elink_operator.database.sessions import Sessions

_REMEMBERED = timedelta(days=400)
"""Far longer than an erasure, which asks for them, may take."""
_RECORD = """
INSERT INTO database_switch (uid, source, before, after) VALUES ($1, $2, $3, $4)
ON CONFLICT (uid, source) DO UPDATE SET before = EXCLUDED.before, after = EXCLUDED.after, switched_at = now()
"""
_OF_SOURCE = "SELECT after FROM database_switch WHERE uid = $1 AND source = $2"


async def record_switch(sessions: Sessions, uid: str, source: str, before: int | None, after: int) -> None:
    """Note that the database `after`, called `source`, is about to take the place of `before`."""
    async with sessions.registry() as connection:
        await connection.execute("DELETE FROM database_switch WHERE switched_at < now() - $1::interval", _REMEMBERED)
        await connection.execute(_RECORD, uid, source, before, after)


async def came_from(sessions: Sessions, uid: str, source: str) -> int | None:
    """The oid of the database that was called `source` before it took the tenant's name; None: there was none."""
    async with sessions.registry() as connection:
        found: int | None = await connection.fetchval(_OF_SOURCE, uid, source)
        return found


async def read_switches(sessions: Sessions) -> frozenset[tuple[int, int]]:
    """(oid before, oid after) of every switch on the server."""
    async with sessions.registry() as connection:
        rows = await connection.fetch("SELECT before, after FROM database_switch WHERE before IS NOT NULL")
        return frozenset((int(before), int(after)) for before, after in rows)
