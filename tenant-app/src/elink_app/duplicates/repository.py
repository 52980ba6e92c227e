"""All SQL of duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from elink_app.accounts.permissions import Principal
from elink_app.addresses.models import Address, AddressEmail
from elink_app.addresses.visibility import visible
from elink_app.duplicates.models import Merge
from elink_app.duplicates.schemas import Likeness

_SEPARATOR = "\x1f"
_PER_GROUP = 5


class DuplicateRepository:
    """Reads and writes within one transaction, for one account."""

    def __init__(self, session: AsyncSession, principal: Principal, among: ColumnElement[bool] | None = None) -> None:
        """`among`: a condition on `Address` for those that are compared with each other; None = all."""
        self._session = session
        self._visible = visible(principal) if among is None else and_(visible(principal), among)

    async def keys(self, likeness: Likeness, after: str, size: int) -> Sequence[str]:
        """What several visible addresses have in common, in byte order, after a key."""
        key, statement = self._keyed(likeness)
        statement = statement.where(key > after) if after else statement
        statement = statement.group_by(key).having(func.count(Address.id.distinct()) > 1).order_by(key).limit(size)
        return list((await self._session.scalars(statement)).all())

    async def count(self, likeness: Likeness) -> int:
        """How many groups there are."""
        key, statement = self._keyed(likeness)
        groups = statement.group_by(key).having(func.count(Address.id.distinct()) > 1).subquery()
        return await self._session.scalar(select(func.count()).select_from(groups)) or 0

    async def group(self, likeness: Likeness, key: str) -> Sequence[Address]:
        """The addresses of one key, the oldest first."""
        column, statement = self._keyed(likeness)
        ids = statement.with_only_columns(Address.id).where(column == key)
        wanted = select(Address).where(Address.id.in_(ids)).order_by(Address.id).limit(_PER_GROUP)
        wanted = wanted.options(selectinload(Address.emails), selectinload(Address.tags))
        return (await self._session.scalars(wanted)).all()

    def _keyed(self, likeness: Likeness) -> tuple[ColumnElement[str], Select[Any]]:
        live = (Address.deleted_at.is_(None), self._visible)
        if likeness is Likeness.EMAIL:
            key: ColumnElement[str] = AddressEmail.email_key.collate("C")
            joined = select(key).join(Address, Address.id == AddressEmail.address_id)
            return key, joined.where(*live)
        if likeness is Likeness.PHONE:
            return Address.phone_digits.expression, select(Address.phone_digits).where(
                *live, Address.phone_digits != ""
            )
        key = (Address.name_form + _SEPARATOR + Address.company_form).collate("C")
        return key, select(key).where(*live)

    async def add(self, merge: Merge) -> None:
        """Insert the note of a merge."""
        self._session.add(merge)
        await self._session.flush()

    async def get(self, merge_id: int, since: datetime) -> Merge | None:
        """A merge that was done after `since` and not undone; held until the end of the transaction."""
        statement = select(Merge).where(Merge.id == merge_id, Merge.at >= since, Merge.undone_at.is_(None))
        return (await self._session.scalars(statement.with_for_update())).one_or_none()
