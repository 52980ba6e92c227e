"""All SQL of roles."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import JSON, ColumnElement, ScalarSelect, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from elink_app.accounts.models import Account
from elink_app.addresses.models import LabelRight
from elink_app.database.locks import alone_with
from elink_app.roles.models import AccountRole, Role


def grants_of(account_id: InstrumentedAttribute[int] | ColumnElement[int]) -> ScalarSelect[Any]:
    """`{role id: [permission, ...]}` of an account as a part of another query; NULL without roles."""
    return (
        select(func.json_object_agg(Role.id, Role.permissions, type_=JSON))
        .join(AccountRole, AccountRole.role_id == Role.id)
        .where(AccountRole.account_id == account_id)
        .correlate_except(Role, AccountRole)
        .scalar_subquery()
    )


class RoleRepository:
    """Reads and writes within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def all(self) -> Sequence[tuple[Role, int]]:
        """Every role with the number of accounts that have it, by name."""
        holders = (
            select(func.count())
            .where(AccountRole.role_id == Role.id)
            .correlate(Role)
            .scalar_subquery()
        )  # fmt: skip
        rows = await self._session.execute(select(Role, holders).order_by(Role.name, Role.id))
        return [(row[0], row[1]) for row in rows]

    async def get(self, role_id: int, *, lock: bool = False) -> Role | None:
        """One role."""
        return await self._session.get(Role, role_id, with_for_update=lock or None)

    async def lock(self, role_ids: Collection[int]) -> Sequence[Role]:
        """The roles with these ids, none of which changes until the transaction ends."""
        statement = select(Role).where(Role.id.in_(role_ids)).order_by(Role.id).with_for_update(read=True)
        return (await self._session.scalars(statement)).all()

    async def lock_names(self) -> None:
        """Nobody else saves a role until the end of the transaction: names stay unique without errors."""
        await alone_with(self._session, "role")

    async def name_taken(self, name: str, but: int | None) -> bool:
        """True when another role than `but` has this name."""
        statement = select(Role.id).where(Role.name == name)
        if but is not None:
            statement = statement.where(Role.id != but)
        return await self._session.scalar(statement) is not None

    async def count(self) -> int:
        """How many roles there are."""
        return await self._session.scalar(select(func.count()).select_from(Role)) or 0

    async def add(self, role: Role) -> None:
        """Insert a role."""
        self._session.add(role)
        await self._session.flush()

    async def holders(self, role_id: int) -> Sequence[tuple[int, str]]:
        """Ids and e-mails of the accounts that have the role."""
        statement = (
            select(Account.id, Account.email)
            .join(AccountRole, AccountRole.account_id == Account.id)
            .where(AccountRole.role_id == role_id)
            .order_by(Account.email_key)
        )
        return [(row[0], row[1]) for row in await self._session.execute(statement)]

    async def labels_naming(self, role_id: int) -> int:
        """How many information labels the role opens."""
        statement = select(func.count(LabelRight.tag_id.distinct())).where(LabelRight.role_id == role_id)
        return await self._session.scalar(statement) or 0

    async def delete(self, role: Role) -> None:
        """Remove the role, also from the labels that it opens."""
        await self._session.delete(role)
        await self._session.flush()

    async def of(self, account_id: int) -> list[int]:
        """The ids of the roles of an account."""
        statement = (
            select(AccountRole.role_id).where(AccountRole.account_id == account_id).order_by(AccountRole.role_id)
        )
        return list((await self._session.scalars(statement)).all())

    async def replace(self, account_id: int, role_ids: Collection[int]) -> None:
        """Give an account exactly these roles."""
        await self._session.execute(delete(AccountRole).where(AccountRole.account_id == account_id))
        self._session.add_all(AccountRole(account_id=account_id, role_id=role_id) for role_id in sorted(role_ids))
        await self._session.flush()
