"""All SQL of passkeys and their challenges."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, delete, exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from elink_app.passkeys.models import Passkey, PasskeyChallenge


def has_passkey(account_id: InstrumentedAttribute[int]) -> ColumnElement[bool]:
    """Whether an account has one, as a part of another query."""
    return exists().where(Passkey.account_id == account_id)


class PasskeyRepository:
    """Rows of `passkey`. Whoever changes one has locked its account before."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def of(self, account_id: int) -> Sequence[Passkey]:
        """The passkeys of an account, the oldest first."""
        statement = select(Passkey).where(Passkey.account_id == account_id).order_by(Passkey.id)
        return (await self._session.scalars(statement)).all()

    async def get(self, account_id: int, passkey_id: int) -> Passkey | None:
        """One of the account's passkeys."""
        statement = select(Passkey).where(Passkey.account_id == account_id, Passkey.id == passkey_id)
        return (await self._session.scalars(statement)).one_or_none()

    async def count(self, account_id: int) -> int:
        """How many passkeys an account has."""
        return await self._session.scalar(select(func.count()).where(Passkey.account_id == account_id)) or 0

    async def owner(self, credential_id: bytes) -> int | None:
        """Id of the account that has this credential."""
        return await self._session.scalar(select(Passkey.account_id).where(Passkey.credential_id == credential_id))

    async def by_credential(self, credential_id: bytes) -> Passkey | None:
        """The passkey with this credential."""
        statement = select(Passkey).where(Passkey.credential_id == credential_id)
        return (await self._session.scalars(statement)).one_or_none()

    async def add(self, passkey: Passkey) -> None:
        """Insert a passkey."""
        self._session.add(passkey)
        await self._session.flush()

    async def remove(self, passkey: Passkey) -> None:
        """Delete a passkey."""
        await self._session.delete(passkey)
        await self._session.flush()

    async def remove_all(self, account_id: int) -> int:
        """Delete all passkeys of an account. Returns how many."""
        statement = delete(Passkey).where(Passkey.account_id == account_id).returning(Passkey.id)
        return len((await self._session.execute(statement)).all())


class ChallengeRepository:
    """Rows of `passkey_challenge`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, challenge: PasskeyChallenge) -> None:
        """Insert a challenge."""
        self._session.add(challenge)
        await self._session.flush()

    async def take(
        self, challenge: bytes, purposes: Sequence[str], browser_sha256: bytes, now: datetime
    ) -> tuple[int | None, bytes | None] | None:
        """Take a challenge away: (who must answer, user handle); None when it was used, is over or another browser's.

        A rival waits here for our transaction.
        """
        statement = (
            delete(PasskeyChallenge)
            .where(
                PasskeyChallenge.challenge == challenge,
                PasskeyChallenge.purpose.in_(purposes),
                PasskeyChallenge.browser_sha256 == browser_sha256,
                PasskeyChallenge.expires_at > now,
            )
            .returning(PasskeyChallenge.account_id, PasskeyChallenge.user_handle)
        )
        row = (await self._session.execute(statement)).one_or_none()
        return (row[0], row[1]) if row is not None else None

    async def purge(self, now: datetime) -> int:
        """Forget challenges that nobody answered in time. Returns how many."""
        statement = delete(PasskeyChallenge).where(PasskeyChallenge.expires_at <= now)
        return len((await self._session.execute(statement.returning(PasskeyChallenge.purpose))).all())
