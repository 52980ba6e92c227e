"""All SQL of the sender's settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.deliveries.models import DkimKey
from elink_app.senders.models import SenderAddress, SenderSettings


class SenderRepository:
    """Reads and writes within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def settings(self) -> SenderSettings | None:
        """The row of settings, or None while the defaults hold."""
        return await self._session.get(SenderSettings, 1)

    async def lock_settings(self) -> SenderSettings:
        """The row, made when it is not there, held until the end of the transaction."""
        made = insert(SenderSettings).values(id=1, version=0).on_conflict_do_nothing(index_elements=["id"])
        await self._session.execute(made)
        statement = select(SenderSettings).with_for_update().execution_options(populate_existing=True)
        return (await self._session.scalars(statement)).one()

    async def save_settings(self, values: dict[str, Any]) -> None:
        """Change the row."""
        await self._session.execute(update(SenderSettings).values(**values))

    async def addresses(self) -> Sequence[SenderAddress]:
        """The allowed senders."""
        return (await self._session.scalars(select(SenderAddress).order_by(SenderAddress.email_key))).all()

    async def address(self, address_id: int) -> SenderAddress | None:
        """One allowed sender."""
        return await self._session.get(SenderAddress, address_id)

    async def address_of(self, email_key: str) -> SenderAddress | None:
        """The allowed sender of this e-mail."""
        statement = select(SenderAddress).where(SenderAddress.email_key == email_key)
        return (await self._session.scalars(statement)).one_or_none()

    async def count_addresses(self) -> int:
        """How many senders are allowed."""
        return await self._session.scalar(select(func.count()).select_from(SenderAddress)) or 0

    async def add_address(self, email: str, key: str, name: str) -> int | None:
        """Allow a sender; None when it is allowed already."""
        values = {"email": email, "email_key": key, "name": name}
        statement = insert(SenderAddress).values(values).on_conflict_do_nothing(index_elements=["email_key"])
        return await self._session.scalar(statement.returning(SenderAddress.id))

    async def remove_address(self, address_id: int) -> None:
        """Allow a sender no longer."""
        await self._session.execute(delete(SenderAddress).where(SenderAddress.id == address_id))

    async def keys(self) -> Sequence[DkimKey]:
        """Signing keys, the newest of each domain first."""
        return (await self._session.scalars(select(DkimKey).order_by(DkimKey.domain, DkimKey.id.desc()))).all()

    async def key(self, key_id: int, *, lock: bool = False) -> DkimKey | None:
        """One signing key."""
        statement = select(DkimKey).where(DkimKey.id == key_id)
        if lock:
            statement = statement.with_for_update().execution_options(populate_existing=True)
        return (await self._session.scalars(statement)).one_or_none()

    async def add_key(self, key: DkimKey) -> None:
        """Insert a signing key."""
        self._session.add(key)
        await self._session.flush()

    async def activate(self, key: DkimKey) -> None:
        """Let this key alone sign for its domain."""
        await self._session.execute(update(DkimKey).where(DkimKey.domain == key.domain).values(active=False))
        await self._session.execute(update(DkimKey).where(DkimKey.id == key.id).values(active=True))

    async def remove_key(self, key_id: int) -> None:
        """Delete a signing key."""
        await self._session.execute(delete(DkimKey).where(DkimKey.id == key_id))
