"""What goes for good when the undo window is over. Called by the worker, which acts for no account."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from elink_app.addresses.computed import computed
from elink_app.addresses.models import Address
from elink_app.attributes.repository import AttributeRepository


async def purge_deleted(session: AsyncSession, before: datetime, limit: int) -> int:
    """Remove addresses deleted before `before`; at most `limit` at a time. Returns how many."""
    old = select(Address.id).where(Address.deleted_at < before).limit(limit).with_for_update(skip_locked=True)
    result = await session.execute(delete(Address).where(Address.id.in_(old)).returning(Address.id))
    return len(result.all())


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
