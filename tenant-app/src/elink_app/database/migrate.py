"""`elink-app migrate`: the template and every tenant's database to the newest revision. Safe to repeat and to kill.

A database that a newer version has migrated is left as it is: a server whose version is set back goes on with it, as
the version before did while the newer one's migration ran (expand, then contract).

With ELINK_MIGRATE_DATABASE: that one database, which need not be in the registry (a restored one). ELINK_DB_USER is
then the tenant's own role, whose password ELINK_DB_PASSWORD_FILE holds: no other right is needed. One that a newer
version has migrated is refused by exit code 3, by which the operator says what to do.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from elink_app.database.connect import WrongConnection, open_connection
from elink_app.settings import Settings
from elink_app.telemetry.logs import describe_error

# A change waits for a lock this long only: behind it every request of the tenant would wait too.
_LOCK_SECONDS = 4.0
_STATEMENT_SECONDS = 600.0
_TRIES = 5
# Any constant that no other program uses: two migrations of one database exclude each other by it.
_ADVISORY_LOCK = 0x656C696E6B


FAILED = 1
TOO_NEW = 3
"""Exit codes; the operator knows the second one."""


class TooNew(Exception):
    """A restored database has the schema of a newer version, and nothing says that this one can work with it."""


@dataclass(frozen=True)
class Target:
    """A database and the role that owns what is in it; without one that is whoever logs in."""

    database: str
    role: str | None


@dataclass(frozen=True)
class Outcome:
    """What became of one database; `error` is empty on success."""

    database: str
    before: str | None
    after: str | None
    seconds: float
    error: str = ""
    too_new: bool = False


def alembic_config() -> Config:
    """Alembic's configuration, without an .ini file."""
    config = Config()
    config.set_main_option("script_location", "elink_app:migrations")
    return config


def newest_revision() -> str:
    """The head of the one history."""
    head = ScriptDirectory.from_config(alembic_config()).get_current_head()
    if head is None:
        raise RuntimeError("there are no migrations")
    return head


def is_newer(revision: str | None) -> bool:
    """Whether a version after this one has migrated a database: its revisions are numbered on."""
    return revision is not None and revision.isdigit() and revision > newest_revision()


def _upgrade(connection: Connection) -> None:
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


async def _revision(connection: AsyncConnection) -> str | None:
    exists = await connection.scalar(text("SELECT to_regclass('public.alembic_version') IS NOT NULL"))
    found = await connection.scalar(text("SELECT version_num FROM alembic_version")) if exists else None
    await connection.commit()
    return str(found) if found else None


async def _lock(connection: AsyncConnection) -> None:
    deadline = time.monotonic() + _STATEMENT_SECONDS
    while True:
        got = await connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _ADVISORY_LOCK})
        await connection.commit()
        if got:
            return
        if time.monotonic() > deadline:
            raise TimeoutError("another migration of this database is running")
        await asyncio.sleep(0.5)


async def migrate_database(settings: Settings, target: Target) -> Outcome:
    """Bring one database to the newest revision, each revision in a transaction of its own."""
    started = time.monotonic()

    async def connect(*_args: Any, **_kwargs: Any) -> asyncpg.Connection[asyncpg.Record]:
        return await open_connection(
            settings,
            target.database,
            role=target.role,
            lock_timeout=_LOCK_SECONDS,
            statement_timeout=_STATEMENT_SECONDS,
        )

    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=connect, poolclass=NullPool, hide_parameters=True
    )
    try:
        async with engine.connect() as connection:
            before = after = await _revision(connection)
            newer = is_newer(before)
            if newer and settings.migrate_database:
                raise TooNew(
                    f"the database has revision {before}, and the newest of this version is {newest_revision()}"
                )
            if before != newest_revision() and not newer:
                await _lock(connection)
                await connection.run_sync(_upgrade)
                await connection.commit()
                after = await _revision(connection)
        return Outcome(target.database, before, after, time.monotonic() - started)
    finally:
        await engine.dispose()


async def _try_often(settings: Settings, target: Target) -> Outcome:
    error: Exception | None = None
    for attempt in range(_TRIES):
        if attempt:
            await asyncio.sleep(2**attempt / 2)
        try:
            return await migrate_database(settings, target)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, DBAPIError) as caught:
            error = caught
        # CommandError: a revision that is in no history.
        except (WrongConnection, CommandError, TooNew) as caught:
            error = caught
            break
    described = describe_error(error) if error else {}
    too_new = isinstance(error, TooNew)
    return Outcome(target.database, None, None, 0.0, " ".join(described.values()), too_new)


async def _targets(settings: Settings) -> list[Target]:
    if settings.migrate_database:
        return [Target(settings.migrate_database, None)]
    connection = await open_connection(settings, settings.registry_database)
    try:
        rows = await connection.fetch("SELECT database, role FROM tenant WHERE database <> '' ORDER BY name")
    finally:
        await connection.close()
    template = Target(settings.template_database, settings.template_role)
    return [template, *(Target(row["database"], row["role"]) for row in rows)]


async def migrate_all(settings: Settings) -> int:
    """Migrate the template first, then every tenant; one JSON line each. Returns the exit code.

    When the template fails nothing else is touched. A tenant that fails does not stop the others.
    """
    code = 0
    for number, target in enumerate(await _targets(settings)):
        outcome = await _try_often(settings, target)
        sys.stdout.write(orjson.dumps(outcome).decode() + "\n")
        sys.stdout.flush()
        if outcome.error:
            code = TOO_NEW if outcome.too_new else FAILED
            if number == 0:
                break
    return code
