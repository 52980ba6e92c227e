"""Spare databases, made while nothing else is to be done: renaming one takes a millisecond, copying sixty."""

from __future__ import annotations

from elink_operator.database.model import spare_marker
from elink_operator.database.server import template_revision
from elink_operator.database.sessions import Connection, Sessions
from elink_operator.database.sql import ident, lock_key
from elink_operator.database.tenant import make_spare
from elink_operator.naming import SPARE_PREFIX

_SPARES = """
SELECT datname, coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database
WHERE starts_with(datname, $1) ORDER BY 1
"""


async def fill_spares(sessions: Sessions, wanted: int) -> bool:
    """One step towards `wanted` spares: drop an outdated or unfinished one, or make one. False: nothing was to do."""
    async with sessions.admin() as connection:
        revision = await template_revision(connection)
        key = lock_key("elink spares")
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", key):
            return False
        try:
            return await _step(connection, revision, wanted)
        finally:
            await connection.execute("SELECT pg_advisory_unlock($1)", key)


async def _step(connection: Connection, revision: str, wanted: int) -> bool:
    good = 0
    for name, marker in await connection.fetch(_SPARES, SPARE_PREFIX):
        if marker == spare_marker(revision):
            good += 1
        elif marker.startswith(spare_marker("")) or not marker:
            await connection.execute(f"DROP DATABASE IF EXISTS {ident(name)}")
            return True
    if good >= wanted:
        return False
    await make_spare(connection, revision)
    return True
