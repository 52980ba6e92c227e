"""All SQL of saved segments."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Select, delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.addresses.models import Tag
from elink_app.database.locks import alone_with
from elink_app.segments.models import Segment


class SegmentRepository:
    """Reads and writes within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def all(self, limit: int) -> Sequence[Segment]:
        """All of them, by name."""
        return (await self._session.scalars(select(Segment).order_by(Segment.name, Segment.id).limit(limit))).all()

    async def get(self, segment_id: int, *, lock: bool = False) -> Segment | None:
        """One of them; `lock` holds it until the end of the transaction."""
        statement = select(Segment).where(Segment.id == segment_id)
        return (await self._session.scalars(statement.with_for_update() if lock else statement)).one_or_none()

    async def by_key(self, key: str) -> Segment | None:
        """The one of this name."""
        return (await self._session.scalars(select(Segment).where(Segment.key == key))).one_or_none()

    async def add(self, segment: Segment) -> None:
        """Insert a new one."""
        self._session.add(segment)
        await self._session.flush()

    async def remove(self, segment_id: int) -> None:
        """Remove one."""
        await self._session.execute(delete(Segment).where(Segment.id == segment_id))

    async def lock_names(self) -> None:
        """Nobody else saves a segment until the end of the transaction: names stay unique without errors."""
        await alone_with(self._session, "segment")

    async def known_tags(self, tag_ids: Sequence[int], forbidden: Select[int]) -> set[int]:
        """Those of `tag_ids` that exist and are not `forbidden`."""
        statement = select(Tag.id).where(Tag.id.in_(tag_ids), Tag.id.not_in(forbidden))
        return set((await self._session.scalars(statement)).all())

    async def among(self, tag_ids: Sequence[int], forbidden: Select[int]) -> set[int]:
        """Those of `tag_ids` that are `forbidden`."""
        statement = select(Tag.id).where(Tag.id.in_(tag_ids), Tag.id.in_(forbidden))
        return set((await self._session.scalars(statement)).all())
