"""`elink-app audit verify`: computes the chain of every tenant again."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.pool import NullPool

from elink_app.audit.service import Verdict, verify
from elink_app.database.connect import WrongConnection, open_connection
from elink_app.settings import Settings
from elink_app.telemetry.logs import describe_error

_STATEMENT_SECONDS = 600.0


@dataclass(frozen=True)
class _Target:
    tenant: str
    database: str
    role: str


async def _targets(settings: Settings, name: str | None) -> list[_Target]:
    connection = await open_connection(settings, settings.registry_database)
    try:
        rows = await connection.fetch(
            "SELECT name, database, role FROM tenant WHERE database <> '' AND ($1::text IS NULL OR name = $1) "
            "ORDER BY name",
            name,
        )
    finally:
        await connection.close()
    return [_Target(row["name"], row["database"], row["role"]) for row in rows]


async def _verify(settings: Settings, target: _Target) -> Verdict:
    async def connect(*_args: Any, **_kwargs: Any) -> asyncpg.Connection[asyncpg.Record]:
        return await open_connection(
            settings, target.database, role=target.role, statement_timeout=_STATEMENT_SECONDS
        )  # fmt: skip

    # One snapshot: lines that are written meanwhile belong to neither the chain nor its head.
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=connect, poolclass=NullPool, isolation_level="REPEATABLE READ"
    )
    try:
        async with AsyncSession(engine) as db:
            return await verify(db)
    finally:
        await engine.dispose()


async def verify_all(settings: Settings, name: str | None) -> int:
    """Check one tenant or all, one JSON line each; the exit code is 1 when a chain is broken or could not be read."""
    targets = await _targets(settings, name)
    if name is not None and not targets:
        sys.stderr.write(f"There is no tenant {name} on this server.\n")
        return 1
    failed = False
    for target in targets:
        line: dict[str, Any] = {"tenant": target.tenant}
        try:
            verdict = await _verify(settings, target)
            line |= {"lines": verdict.lines, "broken_at": verdict.broken_at, "why": verdict.why}
            failed |= verdict.broken_at is not None
        except (OSError, TimeoutError, asyncpg.PostgresError, DBAPIError, WrongConnection) as error:
            line["error"] = " ".join(describe_error(error).values())
            failed = True
        sys.stdout.write(orjson.dumps(line).decode() + "\n")
        sys.stdout.flush()
    return 1 if failed else 0
