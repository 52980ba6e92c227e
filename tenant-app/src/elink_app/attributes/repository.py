"""All SQL of the definitions of own fields."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.permissions import Principal
from elink_app.addresses.models import Address
from elink_app.addresses.visibility import visible
from elink_app.attributes.models import Attribute
from elink_app.database.locks import alone_with
from elink_app.segments.models import Segment
from elink_app.segments.naming import names_field, segment_names


class AttributeRepository:
    """Reads and writes within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def all(self) -> Sequence[Attribute]:
        """The fields in use, in their order."""
        statement = select(Attribute).where(Attribute.deleted_at.is_(None))
        return (await self._session.scalars(statement.order_by(Attribute.position, Attribute.id))).all()

    async def deleted(self, since: datetime) -> Sequence[Attribute]:
        """What was deleted after `since`."""
        statement = select(Attribute).where(Attribute.deleted_at >= since).order_by(Attribute.id)
        return (await self._session.scalars(statement)).all()

    async def get(self, attribute_id: int, *, deleted_since: datetime | None = None) -> Attribute | None:
        """One field in use, or one deleted after a moment; held until the end of the transaction."""
        state = Attribute.deleted_at.is_(None) if deleted_since is None else Attribute.deleted_at >= deleted_since
        statement = select(Attribute).where(Attribute.id == attribute_id, state).with_for_update()
        return (await self._session.scalars(statement)).one_or_none()

    async def lock_names(self) -> None:
        """Nobody else defines a field until the end of the transaction: names stay unique without errors."""
        await alone_with(self._session, "attribute")

    async def key_taken(self, key: str) -> bool:
        """True when a field, also a deleted one whose values are not erased yet, has this key."""
        return await self._session.scalar(select(Attribute.id).where(Attribute.key == key)) is not None

    async def add(self, attribute: Attribute) -> None:
        """Insert a new field."""
        self._session.add(attribute)
        await self._session.flush()

    async def choice_in_use(self, key: str, choice: str) -> bool:
        """True when an address, also a deleted one, bears the choice."""
        statement = select(Address.id).where(Address.attributes.contains({key: choice})).limit(1)
        return await self._session.scalar(statement) is not None

    async def count_bearing(self, key: str, principal: Principal) -> int:
        """How many addresses that the account may see have a value. Looks at all of them."""
        statement = select(func.count()).where(
            Address.attributes.has_key(key), Address.deleted_at.is_(None), visible(principal)
        )
        return await self._session.scalar(statement) or 0

    async def segments_naming(self, key: str, principal: Principal) -> list[str]:
        """The names of segments whose conditions name the field; empty for one that the account may not see."""
        return await segment_names(self._session, principal, names_field(Segment.tree, key))

    async def mark_deleted(self, attribute_id: int, when: datetime | None) -> None:
        """Hide, or with None show again."""
        await self._session.execute(update(Attribute).where(Attribute.id == attribute_id).values(deleted_at=when))

    async def expired(self, before: datetime) -> Sequence[Attribute]:
        """Fields deleted before `before`, whose values are to be erased."""
        return (await self._session.scalars(select(Attribute).where(Attribute.deleted_at < before))).all()

    async def remove(self, attribute_id: int) -> None:
        """Remove a definition for good: its key is free again."""
        await self._session.execute(delete(Attribute).where(Attribute.id == attribute_id))

    async def count(self) -> int:
        """How many fields are in use."""
        statement = select(func.count()).select_from(Attribute).where(Attribute.deleted_at.is_(None))
        return await self._session.scalar(statement) or 0
