"""The way past the ORM, for statements with many rows: it costs as much as the statement itself."""

from __future__ import annotations

from typing import cast

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

_FIRST = text("SELECT 1")


async def driver_of(db: AsyncSession) -> asyncpg.Connection[asyncpg.Record]:
    """The driver's connection under a session, in its transaction."""
    raw = await (await db.connection()).get_raw_connection()
    driver = cast("asyncpg.Connection[asyncpg.Record]", raw.driver_connection)
    if not driver.is_in_transaction():
        # The adapter says BEGIN with its own first statement; before it each of the driver's is committed alone.
        await db.execute(_FIRST)
    return driver
