"""A server's own roles, its registry and its template database. Everything may run again after a kill at any point."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from importlib.resources import files

from elink_operator.database.errors import DatabaseForbidden, DatabaseTaken, TemplateMissing
from elink_operator.database.locks import held
from elink_operator.database.model import Snapshot
from elink_operator.database.sessions import Connection, Sessions
from elink_operator.database.snapshot import read_database
from elink_operator.database.sql import ident, literal, scram_verifier
from elink_operator.naming import APP_ROLE, BACKUP_ROLE, REGISTRY_DATABASE, TEMPLATE_DATABASE, TEMPLATE_ROLE

Salt = Callable[[], bytes]
_TEMPLATE_MARK = "elink template "
_REGISTRY_MARK = "elink registry of "


def random_salt() -> bytes:
    """Sixteen random bytes."""
    return secrets.token_bytes(16)


async def ensure_server(sessions: Sessions, salt: Salt = random_salt) -> None:
    """Make or complete roles, registry and (empty) template of a server.

    Raises `DatabaseForbidden` with the missing right when the administrator may not make roles or databases, and
    `DatabaseTaken` when another server lives there: roles and registry have fixed names.
    """
    server = sessions.server
    async with sessions.admin() as connection:
        await _check_rights(connection, server.user)
        async with held(connection, "elink server"):
            await _check_owner(connection, server.name)
            await _ensure_role(connection, APP_ROLE, f"LOGIN NOINHERIT PASSWORD {_password(server.app_password, salt)}")
            await _ensure_role(connection, TEMPLATE_ROLE, "NOLOGIN")
            log_in = f"LOGIN NOINHERIT PASSWORD {_password(server.backup_password, salt)}"
            await _ensure_role(connection, BACKUP_ROLE, log_in)
            await connection.execute(grant_role(connection, APP_ROLE, server.user))
            await connection.execute(grant_role(connection, TEMPLATE_ROLE, server.user))
            await connection.execute(f"GRANT {ident(TEMPLATE_ROLE)} TO {ident(APP_ROLE)}")
            for database in (REGISTRY_DATABASE, TEMPLATE_DATABASE):
                await _ensure_database(connection, database)
            mark = literal(_REGISTRY_MARK + server.name)
            await connection.execute(f"COMMENT ON DATABASE {ident(REGISTRY_DATABASE)} IS {mark}")
            await connection.execute(f"GRANT CONNECT ON DATABASE {ident(REGISTRY_DATABASE)} TO {ident(BACKUP_ROLE)}")
            await connection.execute(f"GRANT CREATE ON DATABASE {ident(TEMPLATE_DATABASE)} TO {ident(TEMPLATE_ROLE)}")
    async with sessions.registry() as connection:
        await connection.execute(files(__package__).joinpath("registry.sql").read_text(encoding="utf-8"))
    async with sessions.into(TEMPLATE_DATABASE) as connection:
        await connection.execute(f"ALTER SCHEMA public OWNER TO {ident(TEMPLATE_ROLE)}")
        await connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    for role, password in ((APP_ROLE, server.app_password), (BACKUP_ROLE, server.backup_password)):
        if not await sessions.accepts(role, password, REGISTRY_DATABASE):
            async with sessions.admin() as connection:
                await connection.execute(f"ALTER ROLE {ident(role)} PASSWORD {_password(password, salt)}")


def is_prepared(snapshot: Snapshot) -> bool:
    """False when something that `ensure_server` makes is not there."""
    return {APP_ROLE, BACKUP_ROLE, TEMPLATE_ROLE} <= snapshot.roles and TEMPLATE_DATABASE in snapshot.databases


async def mark_template(sessions: Sessions, revision: str) -> None:
    """Note that the template is migrated to `revision`; an empty revision takes the note away (a migration begins)."""
    comment = literal(_TEMPLATE_MARK + revision) if revision else "NULL"
    async with sessions.admin() as connection:
        await connection.execute(f"COMMENT ON DATABASE {ident(TEMPLATE_DATABASE)} IS {comment}")


async def template_revision(connection: Connection) -> str:
    """The revision that the template is migrated to; raises `TemplateMissing` before or during a migration."""
    fact = await read_database(connection, TEMPLATE_DATABASE)
    if fact is None or not fact.marker.startswith(_TEMPLATE_MARK):
        raise TemplateMissing("the template database waits for the migration Job of its server; it is retried")
    return fact.marker.removeprefix(_TEMPLATE_MARK)


def grant_role(connection: Connection, role: str, to: str) -> str:
    """SQL that makes `to` a member that may act as `role`. PostgreSQL 16 and later ask for both options by name."""
    options = " WITH INHERIT TRUE, SET TRUE" if connection.get_server_version().major >= 16 else ""
    return f"GRANT {ident(role)} TO {ident(to)}{options};"


def restrict_database(database: str) -> str:
    """SQL: nobody but the owner and the app may connect. A copy does not inherit this from its template."""
    return (
        f"REVOKE ALL ON DATABASE {ident(database)} FROM PUBLIC;"
        f"GRANT CONNECT ON DATABASE {ident(database)} TO {ident(APP_ROLE)};"
    )


def _password(password: str, salt: Salt) -> str:
    return literal(scram_verifier(password, salt()))


async def _check_rights(connection: Connection, user: str) -> None:
    row = await connection.fetchrow(
        "SELECT rolcreatedb, rolcreaterole, rolsuper FROM pg_roles WHERE rolname = $1", user
    )
    if row is None or row["rolsuper"]:
        return
    for allowed, right in ((row["rolcreatedb"], "CREATEDB"), (row["rolcreaterole"], "CREATEROLE")):
        if not allowed:
            raise DatabaseForbidden(
                f"the administrator role lacks {right}: ALTER ROLE {ident(user)} {right}; it is retried"
            )


async def _check_owner(connection: Connection, name: str) -> None:
    """Two servers with Secrets of their own may still name one PostgreSQL: nothing of the first is changed."""
    fact = await read_database(connection, REGISTRY_DATABASE)
    if fact is None or not fact.marker.startswith(_REGISTRY_MARK):
        return
    owner = fact.marker.removeprefix(_REGISTRY_MARK)
    if owner != name:
        raise DatabaseTaken(
            f"this PostgreSQL is the one of server {owner}: each server needs a PostgreSQL of its own, so correct the "
            f"Secret with its address; if server {owner} is gone for good, DROP DATABASE {REGISTRY_DATABASE} there"
        )


async def _ensure_role(connection: Connection, role: str, options: str) -> None:
    if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
        await connection.execute(f"CREATE ROLE {ident(role)} {options}")


async def _ensure_database(connection: Connection, database: str) -> None:
    if await read_database(connection, database) is None:
        await connection.execute(f"CREATE DATABASE {ident(database)} TEMPLATE template0 ENCODING 'UTF8'")
    await connection.execute(restrict_database(database))
