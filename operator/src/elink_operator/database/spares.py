"""Spare databases, made while nothing else is to be done: renaming one takes a millisecond, copying sixty."""

from __future__ import annotations

from elink_operator.database.locks import held, tried
from elink_operator.database.model import spare_marker
from elink_operator.database.server import template_revision
from elink_operator.database.sessions import Connection, Sessions
from elink_operator.database.sql import ident
from elink_operator.database.tenant import SPARES_LOCK, make_spare
from elink_operator.naming import SPARE_PREFIX

MAKING_LOCK = "elink spare in the making"
"""Held by the one who makes spares: what has no comment yet is then nobody else's work in progress."""
_SPARES = """
SELECT datname, coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database
WHERE starts_with(datname, $1) ORDER BY 1
"""


async def fill_spares(sessions: Sessions, wanted: int) -> bool:
    """One step towards `wanted` spares: drop an outdated or unfinished one, or make one. False: nothing was to do."""
    async with sessions.admin() as connection:
        revision = await template_revision(connection)
        async with tried(connection, MAKING_LOCK) as free:
            if not free:
                return False
            # A tenant that wants a spare waits for this lock, so nothing slow happens under it but a rare DROP.
            async with held(connection, SPARES_LOCK):
                good = await _throw_away(connection, revision)
            if good is None:
                return True
            if good >= wanted:
                return False
            await make_spare(connection, revision)
            return True


async def _throw_away(connection: Connection, revision: str) -> int | None:
    """Drop one spare that is outdated or was never finished; None when there was one, else how many good ones are."""
    good = 0
    for name, marker in await connection.fetch(_SPARES, SPARE_PREFIX):
        if marker == spare_marker(revision):
            good += 1
        elif marker.startswith(spare_marker("")) or not marker:
            await connection.execute(f"DROP DATABASE IF EXISTS {ident(name)}")
            return None
    return good
