"""All SQL of tags and their rights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import BigInteger, delete, func, insert, literal, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.permissions import Principal
from elink_app.addresses.models import Address, AddressTag, LabelRight, Tag
from elink_app.addresses.visibility import forbidden_labels, visible
from elink_app.segments.models import Segment
from elink_app.segments.naming import names_tag, segment_names


class LabelRepository:
    """Reads and writes within one transaction: labels that the account may not see are not there."""

    def __init__(self, session: AsyncSession, principal: Principal) -> None:
        self._session = session
        self._principal = principal
        self._reaches = visible(principal)
        self._visible = Tag.id.not_in(forbidden_labels(principal))

    async def all(self, limit: int) -> Sequence[Tag]:
        """Tags by name."""
        return (await self._session.scalars(select(Tag).where(self._visible).order_by(Tag.name).limit(limit))).all()

    async def counts(self, tag_ids: Sequence[int]) -> dict[int, int]:
        """How many visible live addresses bear each of these tags; none is missing. Looks at all that bear one."""
        statement = (
            select(AddressTag.tag_id, func.count())
            .join(Address, Address.id == AddressTag.address_id)
            .where(AddressTag.tag_id.in_(tag_ids), Address.deleted_at.is_(None), self._reaches)
            .group_by(AddressTag.tag_id)
        )
        found = {row[0]: row[1] for row in await self._session.execute(statement)}
        return {tag_id: found.get(tag_id, 0) for tag_id in tag_ids}

    async def get(self, tag_id: int) -> Tag | None:
        """One tag, held until the end of the transaction."""
        statement = select(Tag).where(Tag.id == tag_id, self._visible).with_for_update()
        return (await self._session.scalars(statement)).one_or_none()

    async def add(self, name: str, key: str) -> Tag | None:
        """A new tag; None when the name is taken."""
        statement = upsert(Tag).values(name=name, key=key).on_conflict_do_nothing(index_elements=["key"])
        return (await self._session.scalars(statement.returning(Tag))).one_or_none()

    async def key_taken(self, key: str, tag_id: int) -> bool:
        """True when another tag has this name, a hidden one too."""
        statement = select(Tag.id).where(Tag.key == key, Tag.id != tag_id)
        return await self._session.scalar(statement) is not None

    async def rights(self, tag_ids: Sequence[int]) -> Sequence[LabelRight]:
        """The rights of these labels."""
        statement = select(LabelRight).where(LabelRight.tag_id.in_(tag_ids))
        return (await self._session.scalars(statement.order_by(LabelRight.role_id))).all()

    async def set_rights(self, tag_id: int, rights: Iterable[tuple[str, int]]) -> None:
        """Exchange the rights of a label: pairs of action and role."""
        await self._session.execute(delete(LabelRight).where(LabelRight.tag_id == tag_id))
        values = [{"tag_id": tag_id, "role_id": role, "action": action} for action, role in sorted(set(rights))]
        if values:
            await self._session.execute(insert(LabelRight), values)

    async def segments_naming(self, tag_id: int) -> list[str]:
        """The names of segments whose conditions name the tag; empty for one that the account may not see."""
        named = names_tag(Segment.tree, literal(tag_id, BigInteger))
        return await segment_names(self._session, self._principal, named)

    async def remove(self, tag_id: int) -> None:
        """Remove a tag: it goes from all addresses."""
        await self._session.execute(delete(Tag).where(Tag.id == tag_id))
