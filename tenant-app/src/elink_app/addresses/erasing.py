"""What goes for good when the undo window is over. Called by the worker, which acts for no account."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from elink_app.addresses.computed import computed
from elink_app.addresses.models import Address
from elink_app.attributes.repository import AttributeRepository


async def expired(session: AsyncSession, before: datetime, limit: int) -> Sequence[int]:
    """Ids of addresses deleted before `before`, the oldest first, `limit` at most; held until the end."""
    old = select(Address.id).where(Address.deleted_at < before).order_by(Address.deleted_at, Address.id).limit(limit)
    return (await session.scalars(old.with_for_update(skip_locked=True))).all()


async def erase(session: AsyncSession, address_ids: Sequence[int]) -> None:
    """Remove these addresses for good."""
    await session.execute(delete(Address).where(Address.id.in_(address_ids)))


async def erase_expired_attributes(session: AsyncSession, before: datetime, limit: int) -> int:
    """Erase the values of fields deleted before `before` from at most `limit` addresses; returns how many.

    A definition goes when no address bears its key any more: until then nobody can give the key another meaning.
    """
    rows = AttributeRepository(session)
    for attribute in await rows.expired(before):
        statement = (
            select(Address).where(Address.attributes.has_key(attribute.key)).limit(limit).with_for_update()
        ).options(selectinload(Address.emails))
        bearing = (await session.scalars(statement)).all()
        for address in bearing:
            address.attributes = {key: value for key, value in address.attributes.items() if key != attribute.key}
            # The search looks through values too.
            for name, value in computed(address, [row.email for row in address.emails], address.attributes).items():
                setattr(address, name, value)
        if bearing:
            await session.flush()
            return len(bearing)
        await rows.remove(attribute.id)
    return 0
