"""A tenant's role, database and registry row. The database is named last: a named database is a whole one."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import orjson

from elink_operator.database.closing import allow_connections
from elink_operator.database.errors import DatabaseError, DatabaseLost, DatabaseTaken, TemplateBusy
from elink_operator.database.locks import held, tried
from elink_operator.database.model import TenantDb, spare_marker, tenant_marker
from elink_operator.database.server import (
    Salt,
    grant_role,
    random_salt,
    restrict_database,
    template_revision,
)
from elink_operator.database.sessions import Connection, Sessions
from elink_operator.database.snapshot import databases_marked, read_database, role_marker
from elink_operator.database.sql import ident, literal, scram_verifier
from elink_operator.naming import APP_ROLE, SPARE_PREFIX, TEMPLATE_DATABASE, TEMPLATE_ROLE, digest

SPARES_LOCK = "elink spares"
"""Held while a spare is given away or thrown away."""
_CONNECTION_LIMIT = 10
"""Of the tenant's own role, which only its backup uses; the app connects as its own role."""


async def ensure_tenant(
    sessions: Sessions, tenant: TenantDb, salt: Salt = random_salt, *, may_make: bool = True
) -> bool:
    """Make or complete a tenant; True when its database was made, and so is empty.

    Raises `DatabaseTaken` when a name belongs to somebody else, `DatabaseLost` when the database is not there and
    `may_make` is False.
    """
    async with sessions.admin() as connection, locked(connection, tenant.name):
        await ensure_role(connection, sessions.server.user, tenant, salt)
        revision = None
        if await _present(connection, tenant):
            await _finish(sessions, connection, tenant.database, tenant)
        else:
            remains = await _remains(connection, tenant)
            if not may_make:
                raise DatabaseLost(f"database {tenant.database} is gone")
            revision = await template_revision(connection)
            unfinished = await _take_spare(connection, tenant, revision, remains) or await _copy_template(
                connection, tenant
            )
            await _finish(sessions, connection, unfinished, tenant)
        await _write_row(sessions, tenant)
        if revision is not None and await template_revision(connection) != revision:
            raise TemplateBusy(
                f"the template changed while {tenant.database} was copied; the migration will pick it up"
            )
    return revision is not None


@asynccontextmanager
async def locked(connection: Connection, tenant: str) -> AsyncIterator[None]:
    """One operator at a time works on a tenant, two leaders by accident included."""
    async with tried(connection, "elink tenant", tenant) as free:
        if not free:
            raise DatabaseError(f"another operator is working on the database of tenant {tenant}; it is retried")
        yield


def unfinished_name(tenant: TenantDb) -> str:
    """The name of a database that is being copied for this tenant."""
    return f"making_{digest(tenant.uid, 16)}"


async def ensure_role(connection: Connection, admin: str, tenant: TenantDb, salt: Salt) -> None:
    """The tenant's own role with its password; the app may act as it. Raises `DatabaseTaken`."""
    marker = await role_marker(connection, tenant.role)
    role = ident(tenant.role)
    verifier = literal(scram_verifier(tenant.password, salt()))
    if marker is None:
        statements = (
            f"CREATE ROLE {role} LOGIN CONNECTION LIMIT {_CONNECTION_LIMIT} PASSWORD {verifier};"
            f"COMMENT ON ROLE {role} IS {literal(tenant_marker(tenant.uid))};"
        )
    elif marker != tenant_marker(tenant.uid):
        raise DatabaseTaken(f"role {tenant.role} belongs to somebody else: remove or rename it; it is retried")
    else:
        statements = f"ALTER ROLE {role} PASSWORD {verifier};"
    # One message is one transaction: a role without its comment could not be told from a stranger's.
    await connection.execute(
        statements + grant_role(connection, tenant.role, admin) + f"GRANT {role} TO {ident(APP_ROLE)}"
    )


async def _present(connection: Connection, tenant: TenantDb) -> bool:
    fact = await read_database(connection, tenant.database)
    if fact is None:
        return False
    if fact.marker != tenant_marker(tenant.uid):
        raise DatabaseTaken(f"database {tenant.database} belongs to somebody else: remove or rename it; it is retried")
    return True


async def _remains(connection: Connection, tenant: TenantDb) -> list[str]:
    """What an interrupted attempt left; raises `DatabaseTaken` when the whole database is there under another name."""
    names = await databases_marked(connection, tenant_marker(tenant.uid))
    for name in names:
        if name != unfinished_name(tenant) and not name.startswith(SPARE_PREFIX):
            raise DatabaseTaken(
                f"database {name} is marked as that of tenant {tenant.name}, which should be called {tenant.database}: "
                "rename it back, or remove its comment; it is retried"
            )
    return names


async def _take_spare(connection: Connection, tenant: TenantDb, revision: str, remains: list[str]) -> str | None:
    """A spare database that becomes this tenant's; None when there is none.

    What an interrupted attempt left is removed first: the template may have been migrated since.
    """
    for name in remains:
        await connection.execute(f"DROP DATABASE IF EXISTS {ident(name)}")
    if not await databases_marked(connection, spare_marker(revision)):
        return None
    async with held(connection, SPARES_LOCK):
        for name in await databases_marked(connection, spare_marker(revision)):
            if name.startswith(SPARE_PREFIX):
                await _mark(connection, name, tenant_marker(tenant.uid))
                return name
    return None


async def _copy_template(connection: Connection, tenant: TenantDb) -> str:
    name = unfinished_name(tenant)
    await connection.execute(f"DROP DATABASE IF EXISTS {ident(name)}")
    await copy_template(connection, name)
    await _mark(connection, name, tenant_marker(tenant.uid))
    return name


async def copy_template(connection: Connection, name: str) -> None:
    """CREATE DATABASE from the migrated template. WAL_LOG spares the checkpoint that FILE_COPY forces (3x faster)."""
    await connection.execute(f"CREATE DATABASE {ident(name)} TEMPLATE {ident(TEMPLATE_DATABASE)} STRATEGY WAL_LOG")
    await connection.execute(restrict_database(name))


async def _finish(sessions: Sessions, connection: Connection, name: str, tenant: TenantDb) -> None:
    """Hand a copied database over to the tenant's role, then give it its name. Repeating it changes nothing."""
    role = ident(tenant.role)
    fact = await read_database(connection, name)
    if fact is None:
        raise DatabaseError(f"database {name} vanished while it was prepared; it is retried")
    if name == tenant.database and fact.owner == tenant.role:
        if not (fact.app and fact.open):
            # A restore that was given up in the middle of its switch leaves the database closed.
            await connection.execute(restrict_database(name) + allow_connections(name))
        return
    async with sessions.into(name) as inside:
        # The schema first: a function goes only to a role that may create in its schema.
        await inside.execute(f"ALTER SCHEMA public OWNER TO {role}; REASSIGN OWNED BY {ident(TEMPLATE_ROLE)} TO {role}")
    rename = "" if name == tenant.database else f"ALTER DATABASE {ident(name)} RENAME TO {ident(tenant.database)}"
    await connection.execute(f"ALTER DATABASE {ident(name)} OWNER TO {role};{restrict_database(name)}{rename}")


async def _mark(connection: Connection, database: str, marker: str) -> None:
    await connection.execute(f"COMMENT ON DATABASE {ident(database)} IS {literal(marker)}")


_COLUMNS = (
    "uid", "host", "database", "role", "directory", "state", "state_reason", "display_name", "language", "limits",
    "contacts", "mail", "master_email", "setup_token_sha256", "setup_expires_at", "spec_hash",
)  # fmt: skip
_UPSERT = f"""
INSERT INTO tenant (name, {", ".join(_COLUMNS)}) VALUES ($1, {", ".join(f"${i}" for i in range(2, len(_COLUMNS) + 2))})
ON CONFLICT (name) DO UPDATE SET {", ".join(f"{c} = EXCLUDED.{c}" for c in _COLUMNS)}, updated_at = now()
WHERE tenant.spec_hash <> EXCLUDED.spec_hash
"""  # noqa: S608 - column names are constants


_UPDATE = f"""
UPDATE tenant SET {", ".join(f"{c} = ${i}" for i, c in enumerate(_COLUMNS, 2))}, updated_at = now()
WHERE name = $1 AND uid = $2
"""  # noqa: S608 - column names are constants

# Without a spec_hash: the row is no longer what any spec says, and is written again when the tenant's may take effect.
_STATE = """
UPDATE tenant SET state = $3, state_reason = $4, spec_hash = '', updated_at = now()
WHERE name = $1 AND uid = $2 AND state <> 'Maintenance' AND (state, state_reason) IS DISTINCT FROM ($3, $4)
"""


async def update_row(sessions: Sessions, tenant: TenantDb) -> bool:
    """Change the row of a complete tenant: it waits behind no CREATE DATABASE. False when it has no row any more."""
    return await _write(sessions, tenant, _UPDATE) == "UPDATE 1"


async def set_state(sessions: Sessions, name: str, uid: str, state: str, reason: str) -> None:
    """Change the state alone; the rest of the row stays. Not while a restore has the tenant in its hands."""
    async with sessions.registry() as connection:
        await connection.execute(_STATE, name, uid, state, reason)


async def _write_row(sessions: Sessions, tenant: TenantDb) -> None:
    await _write(sessions, tenant, _UPSERT)


async def _write(sessions: Sessions, tenant: TenantDb, statement: str) -> str:
    values = [
        orjson.dumps(value).decode() if column in {"limits", "contacts", "mail"} else value
        for column, value in ((column, getattr(tenant, column)) for column in _COLUMNS)
    ]
    try:
        async with sessions.registry() as connection:
            return await connection.execute(statement, tenant.name, *values)
    except DatabaseError as error:
        if isinstance(error.__cause__, asyncpg.UniqueViolationError):
            raise DatabaseTaken(
                f"the registry has another tenant with host {tenant.host} or database {tenant.database}; it is retried"
            ) from error
        raise


async def make_spare(connection: Connection, revision: str) -> str:
    """One more spare database of the template's present revision."""
    name = SPARE_PREFIX + secrets.token_hex(4)
    await copy_template(connection, name)
    await _mark(connection, name, spare_marker(revision))
    return name
