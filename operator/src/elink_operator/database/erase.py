"""Removing a tenant from PostgreSQL, exactly it and nothing else, and looking again afterwards."""

from __future__ import annotations

import asyncio
import time

import asyncpg

from elink_operator.database.errors import DatabaseInUse, DatabaseTaken
from elink_operator.database.model import ErasureEvidence, TenantDb, tenant_marker
from elink_operator.database.sessions import Connection, Sessions
from elink_operator.database.snapshot import databases_marked, read_database, read_snapshot, role_marker
from elink_operator.database.sql import ident
from elink_operator.database.tenant import locked, unfinished_name

# Background workers have no user and give way by themselves; a superuser's session is not ours to end.
_SESSIONS = "FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid() AND usesysid IS NOT NULL"
_TERMINATE = f"SELECT count(pg_terminate_backend(pid)) {_SESSIONS} AND pg_has_role(usesysid, 'USAGE')"
_OTHERS = f"SELECT coalesce(string_agg(DISTINCT usename, ', '), '') {_SESSIONS}"
_PATIENCE = 10.0
_PAUSE = 0.2


async def drop_tenant(sessions: Sessions, tenant: TenantDb) -> ErasureEvidence:
    """Remove registry row, sessions, database and role. May run again; raises when any answer is unknown."""
    steps: list[tuple[str, str]] = []
    async with sessions.registry() as connection:
        row = await connection.execute("DELETE FROM tenant WHERE name = $1 AND uid = $2", tenant.name, tenant.uid)
        steps.append(("RegistryRow", f"{row.rpartition(' ')[2]} row removed"))
    async with sessions.admin() as connection, locked(connection, tenant.name):
        for name in await _databases_of(connection, tenant):
            ended = await _drop_database(connection, name)
            steps.append(("Database", f"{name} dropped, {ended} sessions ended"))
        steps.append(("Role", await _drop_role(connection, tenant)))
    return ErasureEvidence(tuple(steps), (await read_snapshot(sessions)).traces(tenant))


async def _databases_of(connection: Connection, tenant: TenantDb) -> list[str]:
    names = set(await databases_marked(connection, tenant_marker(tenant.uid)))
    fact = await read_database(connection, tenant.database)
    if fact is not None and fact.marker != tenant_marker(tenant.uid):
        raise DatabaseTaken(
            f"database {tenant.database} is not marked as this tenant's, so it is not dropped: "
            "a human must say whose it is; the erasure waits"
        )
    if await read_database(connection, unfinished_name(tenant)) is not None:
        names.add(unfinished_name(tenant))
    return sorted(names)


async def _drop_database(connection: Connection, name: str) -> int:
    """End the sessions of exactly this database and drop it; a session that comes back meanwhile is ended again."""
    await connection.execute(f"ALTER DATABASE {ident(name)} WITH ALLOW_CONNECTIONS false")
    ended = 0
    deadline = time.monotonic() + _PATIENCE
    while True:
        ended += int(await connection.fetchval(_TERMINATE, name))
        try:
            await connection.execute(f"DROP DATABASE IF EXISTS {ident(name)}")
        except asyncpg.ObjectInUseError:
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(_PAUSE)
        else:
            return ended
    others = await connection.fetchval(_OTHERS, name)
    raise DatabaseInUse(
        f"database {name} is in use by sessions that may not be ended (of: {others or 'unknown'}): end them; "
        "the erasure is retried"
    )


async def _drop_role(connection: Connection, tenant: TenantDb) -> str:
    marker = await role_marker(connection, tenant.role)
    if marker is None:
        return f"{tenant.role} is not there"
    if marker != tenant_marker(tenant.uid):
        raise DatabaseTaken(
            f"role {tenant.role} is not marked as this tenant's, so it is not dropped: "
            "a human must say whose it is; the erasure waits"
        )
    await connection.execute(f"DROP ROLE {ident(tenant.role)}")
    return f"{tenant.role} dropped"
