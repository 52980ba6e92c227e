"""What a restore needs of PostgreSQL: an empty database to fill, the switch, and the way back.

A database is touched only under its exact name and when its comment says that it is this tenant's. The renames of a
switch and the new comments are one transaction, so a kill leaves the old picture or the new one; what else it leaves
(a database that is closed) the next call puts right, and so does `ensure_tenant`.
"""

from __future__ import annotations

from elink_operator.database.closing import allow_connections, drop_database, execute_alone, refuse_connections
from elink_operator.database.errors import DatabaseError, DatabaseLost, DatabaseTaken
from elink_operator.database.model import DatabaseFact, TenantDb, kept_marker, scratch_marker, tenant_marker
from elink_operator.database.server import Salt, random_salt, restrict_database
from elink_operator.database.sessions import Connection, Sessions
from elink_operator.database.snapshot import read_database
from elink_operator.database.sql import ident, literal
from elink_operator.database.switches import came_from, record_switch
from elink_operator.database.tenant import ensure_role, locked, unfinished_name


async def make_scratch(sessions: Sessions, tenant: TenantDb, scratch: str, salt: Salt = random_salt) -> None:
    """An empty database (no tables) that the tenant's role owns and nobody else may enter.

    The role is made when it is not there (a lost server). Raises `DatabaseTaken` when the name is somebody else's.
    """
    making, role = unfinished_name(tenant), ident(tenant.role)
    async with sessions.admin() as connection, locked(connection, tenant.name):
        await ensure_role(connection, sessions.server.user, tenant, salt)
        if await _own(connection, scratch, scratch_marker(tenant.uid)) is not None:
            await drop_database(connection, scratch)
        if await read_database(connection, making) is not None:
            await drop_database(connection, making)
        await connection.execute(f"CREATE DATABASE {ident(making)} TEMPLATE template0 ENCODING 'UTF8'")
        async with sessions.into(making) as inside:
            await inside.execute(f"ALTER SCHEMA public OWNER TO {role}; REVOKE ALL ON SCHEMA public FROM PUBLIC")
        await connection.execute(
            f"REVOKE ALL ON DATABASE {ident(making)} FROM PUBLIC;"
            f"ALTER DATABASE {ident(making)} OWNER TO {role};"
            f"{_mark(making, scratch_marker(tenant.uid))}"
            f"ALTER DATABASE {ident(making)} RENAME TO {ident(scratch)}"
        )


async def drop_scratch(sessions: Sessions, tenant: TenantDb, scratch: str) -> bool:
    """Remove it and look again; False when it was not there. Raises `DatabaseTaken`, `DatabaseInUse`."""
    return await _drop(sessions, tenant, scratch, scratch_marker(tenant.uid))


async def drop_kept(sessions: Sessions, tenant: TenantDb, kept: str) -> bool:
    """Remove it and look again; False when it was not there. Raises `DatabaseTaken`, `DatabaseInUse`."""
    return await _drop(sessions, tenant, kept, kept_marker(tenant.uid))


async def adopt_scratch(sessions: Sessions, tenant: TenantDb, scratch: str, kept: str) -> None:
    """The tenant's database becomes `kept`, which lets nobody in, and `scratch` becomes the tenant's database.

    A tenant whose database was lost has nothing to keep. May run again. Raises `DatabaseLost` when there is nothing to
    adopt, `DatabaseTaken` for what is not this tenant's, and when `kept` is there already.
    """
    async with sessions.admin() as connection, locked(connection, tenant.name):
        present = await _own(connection, tenant.database, tenant_marker(tenant.uid))
        waiting = await _own(connection, scratch, scratch_marker(tenant.uid))
        aside = await _own(connection, kept, kept_marker(tenant.uid))
        if waiting is None:
            if present is None or await came_from(sessions, tenant.uid, scratch) != present.oid:
                raise DatabaseLost(f"database {scratch}, which was to take the place of {tenant.database}, is gone")
            await _open(connection, tenant, present)
            return
        if present is not None and aside is not None:
            raise DatabaseTaken(
                f"database {kept} is there already: it is dropped first, or brought back; it is retried"
            )
        await record_switch(sessions, tenant.uid, scratch, present.oid if present else None, waiting.oid)
        leaving = (kept, kept_marker(tenant.uid)) if present is not None else None
        await _switch(connection, tenant, leaving, scratch)


async def return_kept(sessions: Sessions, tenant: TenantDb, kept: str, scratch: str) -> None:
    """`kept` becomes the tenant's database again; the one in its place becomes `scratch`, and lets nobody in.

    May run again. Where nothing is kept (never switched, returned already, or nothing was there to keep) the tenant's
    database stays and is opened. Raises `DatabaseLost` when there is none, `DatabaseTaken` for what is not this
    tenant's, and when `scratch` is there already.
    """
    async with sessions.admin() as connection, locked(connection, tenant.name):
        present = await _own(connection, tenant.database, tenant_marker(tenant.uid))
        aside = await _own(connection, kept, kept_marker(tenant.uid))
        waiting = await _own(connection, scratch, scratch_marker(tenant.uid))
        if aside is None:
            if present is None:
                raise DatabaseLost(f"database {tenant.database} is gone and nothing of it is kept")
            await _open(connection, tenant, present)
            return
        if present is not None and waiting is not None:
            raise DatabaseTaken(f"database {scratch} is there already: it is dropped first; it is retried")
        await record_switch(sessions, tenant.uid, kept, present.oid if present else None, aside.oid)
        leaving = (scratch, scratch_marker(tenant.uid)) if present is not None else None
        await _switch(connection, tenant, leaving, kept)


async def _switch(connection: Connection, tenant: TenantDb, leaving: tuple[str, str] | None, entering: str) -> None:
    """Close both, and in one transaction let the one leave under a new name and marker, and the other enter."""
    names = [entering] if leaving is None else [tenant.database, entering]
    leave = "" if leaving is None else _rename(tenant.database, *leaving)
    await connection.execute("".join(map(refuse_connections, names)))
    enter = _rename(entering, tenant.database, tenant_marker(tenant.uid))
    await execute_alone(connection, names, f"{leave}{enter}{_whole(tenant)}")


async def _drop(sessions: Sessions, tenant: TenantDb, name: str, marker: str) -> bool:
    async with sessions.admin() as connection, locked(connection, tenant.name):
        if await _own(connection, name, marker) is None:
            return False
        await drop_database(connection, name)
        if await read_database(connection, name) is not None:
            raise DatabaseError(f"database {name} is still there after it was dropped; it is retried")
    return True


async def _own(connection: Connection, name: str, marker: str) -> DatabaseFact | None:
    fact = await read_database(connection, name)
    if fact is not None and fact.marker != marker:
        raise DatabaseTaken(
            f"database {name} is not marked '{marker}', so it is not touched: a human must say whose it is"
        )
    return fact


async def _open(connection: Connection, tenant: TenantDb, fact: DatabaseFact) -> None:
    if not (fact.open and fact.app and fact.owner == tenant.role):
        await connection.execute(_whole(tenant))


def _whole(tenant: TenantDb) -> str:
    """SQL: owner and rights as `Snapshot.holds` wants them."""
    name = tenant.database
    return (
        f"ALTER DATABASE {ident(name)} OWNER TO {ident(tenant.role)};{restrict_database(name)}{allow_connections(name)}"
    )


def _rename(before: str, after: str, marker: str) -> str:
    return f"ALTER DATABASE {ident(before)} RENAME TO {ident(after)};{_mark(after, marker)}"


def _mark(name: str, marker: str) -> str:
    return f"COMMENT ON DATABASE {ident(name)} IS {literal(marker)};"
