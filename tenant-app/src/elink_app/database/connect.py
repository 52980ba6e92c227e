"""Opens one connection to PostgreSQL, acting as one role, with limits, and checks on the server that it is so."""

from __future__ import annotations

import asyncpg

from elink_app.settings import Settings


class WrongConnection(Exception):
    """The server says that this is not the database or the role that was asked for."""


async def open_connection(
    settings: Settings,
    database: str,
    *,
    role: str | None = None,
    timeout: float | None = None,
    lock_timeout: float | None = None,
    statement_timeout: float | None = None,
) -> asyncpg.Connection[asyncpg.Record]:
    """Connect as the application's log-in and act as `role`.

    The role is given at start-up, so that RESET ROLE or DISCARD ALL lead back to it, not to the log-in role.
    Raises WrongConnection, asyncpg.PostgresError or OSError.
    """
    options = {
        "application_name": f"elink-{settings.role}",
        "timezone": "UTC",
        "statement_timeout": _milliseconds(statement_timeout or settings.db_statement_timeout),
        "lock_timeout": _milliseconds(lock_timeout or settings.db_lock_timeout),
        "idle_in_transaction_session_timeout": "60000",
    }
    if role is not None:
        options["role"] = role
    password = settings.db_password()
    connection = await asyncpg.connect(
        host=settings.db_host,
        port=settings.db_port,
        user=settings.db_user,
        password=password.get_secret_value() if password else None,
        database=database,
        timeout=timeout or settings.db_connect_timeout,
        server_settings=options,
    )
    row = await connection.fetchrow(
        "SELECT current_database()::text AS db, current_user::text AS acting, session_user::text AS login, "
        "(SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = session_user) AS mighty"
    )
    wanted = (database, role or settings.db_user, settings.db_user, False)
    if row is None or (row["db"], row["acting"], row["login"], row["mighty"]) != wanted:
        connection.terminate()
        raise WrongConnection(database)
    return connection


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))
