"""Removing a tenant from PostgreSQL, exactly it and nothing else, and looking again afterwards."""

from __future__ import annotations

from elink_operator.database.closing import drop_database
from elink_operator.database.errors import DatabaseTaken
from elink_operator.database.model import ErasureEvidence, TenantDb, kept_marker, scratch_marker, tenant_marker
from elink_operator.database.sessions import Connection, Sessions
from elink_operator.database.snapshot import databases_marked, read_database, read_snapshot, role_marker
from elink_operator.database.sql import ident
from elink_operator.database.tenant import locked, unfinished_name


async def drop_tenant(sessions: Sessions, tenant: TenantDb) -> ErasureEvidence:
    """Remove registry row, sessions, database and role. May run again; raises when any answer is unknown."""
    steps: list[tuple[str, str]] = []
    async with sessions.registry() as connection:
        row = await connection.execute("DELETE FROM tenant WHERE name = $1 AND uid = $2", tenant.name, tenant.uid)
        await connection.execute("DELETE FROM database_switch WHERE uid = $1", tenant.uid)
        steps.append(("RegistryRow", f"{row.rpartition(' ')[2]} row removed"))
    async with sessions.admin() as connection, locked(connection, tenant.name):
        for name in await _databases_of(connection, tenant):
            ended = await drop_database(connection, name)
            steps.append(("Database", f"{name} dropped, {ended} sessions ended"))
        steps.append(("Role", await _drop_role(connection, tenant)))
    return ErasureEvidence(tuple(steps), (await read_snapshot(sessions)).traces(tenant))


async def _databases_of(connection: Connection, tenant: TenantDb) -> list[str]:
    """Whatever bears this tenant's uid, what its restores made or kept first."""
    restored = [
        *await databases_marked(connection, scratch_marker(tenant.uid)),
        *await databases_marked(connection, kept_marker(tenant.uid)),
    ]
    names = set(await databases_marked(connection, tenant_marker(tenant.uid)))
    fact = await read_database(connection, tenant.database)
    if fact is not None and fact.marker != tenant_marker(tenant.uid):
        raise DatabaseTaken(
            f"database {tenant.database} is not marked as this tenant's, so it is not dropped: "
            "a human must say whose it is; the erasure waits"
        )
    if await read_database(connection, unfinished_name(tenant)) is not None:
        names.add(unfinished_name(tenant))
    return [*restored, *sorted(names)]


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
