"""All SQL of users and their fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.models import Account
from elink_app.accounts.repository import Grants
from elink_app.passkeys.repository import has_passkey
from elink_app.people.models import UserField
from elink_app.roles.repository import grants_of
from elink_app.security.models import AccountLink


@dataclass(frozen=True)
class Person:
    """An account with what its roles grant, the end of its invitation if one was sent, and if it has a passkey."""

    account: Account
    grants: Grants
    invited_until: datetime | None
    has_passkey: bool


class PeopleRepository:
    """Reads and writes within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def find(self, text: str = "") -> Sequence[Person]:
        """Everybody, or whose e-mail or name holds `text`: the master first, then by e-mail."""
        statement = self._people().order_by(Account.is_master.desc(), Account.email_key)
        if text:
            pattern = "%" + text.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
            statement = statement.where(
                or_(Account.email_key.like(pattern), func.lower(Account.display_name).like(pattern))
            )
        return [Person(row[0], row[1] or {}, row[2], row[3]) for row in await self._session.execute(statement)]

    async def get(self, account_id: int, *, lock: bool = False) -> Person | None:
        """One user."""
        statement = self._people().where(Account.id == account_id)
        if lock:
            statement = statement.with_for_update(of=Account)
        row = (await self._session.execute(statement)).one_or_none()
        return Person(row[0], row[1] or {}, row[2], row[3]) if row is not None else None

    @staticmethod
    def _people() -> Select[tuple[Account, Any, datetime | None, bool]]:
        invited = (
            select(AccountLink.expires_at)
            .where(AccountLink.account_id == Account.id, AccountLink.purpose == "invite")
            .correlate(Account)
            .scalar_subquery()
        )
        return select(Account, grants_of(Account.id), invited, has_passkey(Account.id))

    async def count(self) -> int:
        """How many accounts there are."""
        return await self._session.scalar(select(func.count()).select_from(Account)) or 0

    async def add(self, account: Account) -> None:
        """Insert an account."""
        self._session.add(account)
        await self._session.flush()

    async def delete(self, account: Account) -> None:
        """Remove an account with its sessions, tokens, links and roles."""
        await self._session.delete(account)
        await self._session.flush()

    async def fields(self) -> Sequence[UserField]:
        """The tenant's own fields in their order."""
        return (await self._session.scalars(select(UserField).order_by(UserField.position, UserField.id))).all()

    async def field(self, field_id: int) -> UserField | None:
        """One field."""
        return await self._session.get(UserField, field_id, with_for_update=True)

    async def add_field(self, field: UserField) -> None:
        """Insert a field."""
        self._session.add(field)
        await self._session.flush()

    async def delete_field(self, field: UserField) -> int:
        """Remove a field and its value from every user; returns how many had one."""
        holders = (await self._session.scalars(select(Account).where(Account.attributes.has_key(field.key)))).all()
        for account in holders:
            account.attributes = {key: value for key, value in account.attributes.items() if key != field.key}
        await self._session.delete(field)
        await self._session.flush()
        return len(holders)
