"""All SQL of users and their fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.models import Account
from elink_app.accounts.repository import Grants
from elink_app.database.locks import alone_with
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
            statement = statement.with_for_update(of=Account).execution_options(populate_existing=True)
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

    async def lock(self) -> None:
        """Nobody else registers, changes or removes a user, or defines or deletes a field, until the end of the
        transaction: each is there once, and no user has a value in a field that is gone. Before any row is held."""
        await alone_with(self._session, "people")

    async def add(self, account: Account) -> None:
        """Insert an account."""
        self._session.add(account)
        await self._session.flush()

    async def delete(self, account: Account) -> None:
        """Remove an account with its sessions, tokens, links and roles."""
        await self._session.delete(account)
        await self._session.flush()

    async def fields(self) -> Sequence[UserField]:
        """The tenant's own fields in use, in their order."""
        statement = select(UserField).where(UserField.deleted_at.is_(None))
        return (await self._session.scalars(statement.order_by(UserField.position, UserField.id))).all()

    async def deleted_fields(self, since: datetime) -> Sequence[UserField]:
        """What was deleted after `since`."""
        statement = select(UserField).where(UserField.deleted_at >= since).order_by(UserField.id)
        return (await self._session.scalars(statement)).all()

    async def field(self, field_id: int, *, deleted_since: datetime | None = None) -> UserField | None:
        """One field in use, or one deleted after a moment; held until the end of the transaction."""
        state = UserField.deleted_at.is_(None) if deleted_since is None else UserField.deleted_at >= deleted_since
        return (
            await self._session.scalars(select(UserField).where(UserField.id == field_id, state).with_for_update())
        ).one_or_none()

    async def key_taken(self, key: str) -> bool:
        """True when a field, also a deleted one that can still be brought back, has this key."""
        return await self._session.scalar(select(UserField.id).where(UserField.key == key)) is not None

    async def count_holders(self, key: str) -> int:
        """How many users have a value."""
        return await self._session.scalar(select(func.count()).where(Account.attributes.has_key(key))) or 0

    async def add_field(self, field: UserField) -> None:
        """Insert a field."""
        self._session.add(field)
        await self._session.flush()

    async def delete_field(self, field: UserField, now: datetime) -> int:
        """Take a field's value from every user, to be kept with the field; returns how many had one."""
        bearing = select(Account).where(Account.attributes.has_key(field.key)).order_by(Account.id).with_for_update()
        holders = (await self._session.scalars(bearing)).all()
        field.deleted_at = now
        field.deleted_values = {str(account.id): account.attributes[field.key] for account in holders}
        for account in holders:
            account.attributes = {key: value for key, value in account.attributes.items() if key != field.key}
        await self._session.flush()
        return len(holders)

    async def restore_field(self, field: UserField) -> int:
        """Give a deleted field's values back to those who are still there; returns to how many."""
        had = {int(account_id): value for account_id, value in field.deleted_values.items()}
        statement = select(Account).where(Account.id.in_(had)).order_by(Account.id).with_for_update()
        holders = (await self._session.scalars(statement)).all()
        for account in holders:
            account.attributes = {**account.attributes, field.key: had[account.id]}
        field.deleted_at, field.deleted_values = None, {}
        await self._session.flush()
        return len(holders)

    async def forget_values(self, account_id: int) -> None:
        """Deleted fields keep nothing of an account that is removed."""
        await self._session.execute(
            update(UserField)
            .where(UserField.deleted_values.has_key(str(account_id)))
            .values(deleted_values=UserField.deleted_values.op("-")(str(account_id)))
        )

    async def purge_fields(self, before: datetime) -> int:
        """Remove fields deleted before `before` with the values kept of them. Returns how many."""
        statement = delete(UserField).where(UserField.deleted_at < before).returning(UserField.id)
        return len((await self._session.execute(statement)).all())
