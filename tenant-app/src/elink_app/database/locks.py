"""Advisory locks of one tenant's database."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession


async def alone_with(session: AsyncSession, what: str) -> None:
    """Wait until no other transaction is alone with `what`; held until the end of this one."""
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtext(what))))
