"""What exists on a server, in three SELECTs, and by exact name."""

from __future__ import annotations

from elink_operator.database.model import DatabaseFact, Snapshot
from elink_operator.database.sessions import Connection, Sessions

_DATABASES = """
SELECT d.datname, d.oid::int8, r.rolname, coalesce(shobj_description(d.oid, 'pg_database'), ''), d.datallowconn
FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE NOT d.datistemplate
"""
_ROLES = "SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_'"


async def read_snapshot(sessions: Sessions) -> Snapshot:
    """The server as it is now; raises `DatabaseError` when any part of the answer is missing."""
    async with sessions.admin() as connection:
        databases = {
            str(name): DatabaseFact(oid, owner, marker, is_open)
            for name, oid, owner, marker, is_open in await connection.fetch(_DATABASES)
        }
        roles = frozenset(str(row[0]) for row in await connection.fetch(_ROLES))
    async with sessions.registry() as connection:
        registry = {str(row[0]): str(row[1]) for row in await connection.fetch("SELECT name, spec_hash FROM tenant")}
    return Snapshot(databases, roles, registry)


async def read_database(connection: Connection, name: str) -> DatabaseFact | None:
    """One database by its exact name."""
    row = await connection.fetchrow(_DATABASES + " AND d.datname = $1", name)
    return None if row is None else DatabaseFact(row[1], row[2], row[3], row[4])


async def databases_marked(connection: Connection, marker: str) -> list[str]:
    """Names of the databases whose comment is exactly `marker`, in order."""
    rows = await connection.fetch(
        f"SELECT datname FROM ({_DATABASES}) AS d (datname, oid, owner, marker, open) WHERE marker = $1 ORDER BY 1",  # noqa: S608
        marker,
    )
    return [str(row[0]) for row in rows]


async def role_marker(connection: Connection, role: str) -> str | None:
    """The comment of a role (empty when it has none); None when there is no such role."""
    marker: str | None = await connection.fetchval(
        "SELECT coalesce(shobj_description(oid, 'pg_authid'), '') FROM pg_roles WHERE rolname = $1", role
    )
    return marker
