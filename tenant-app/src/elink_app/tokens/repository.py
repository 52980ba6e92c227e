"""All SQL of API tokens."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.models import Account
from elink_app.accounts.repository import Grants
from elink_app.roles.repository import grants_of
from elink_app.security.repository import factor_due
from elink_app.tokens.models import ApiToken


class TokenRepository:
    """Reads and writes within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def find(self, secret_sha256: bytes, now: datetime) -> tuple[ApiToken, Account, Grants, bool] | None:
        """The living token with this hash and its owner unless disabled; in the same query what the owner may, and
        whether the tenant demands a second factor that the owner does not have."""
        due = factor_due(Account.id, Account.totp_secret)
        statement = (
            select(ApiToken, Account, grants_of(Account.id), due)
            .join(Account, Account.id == ApiToken.account_id)
            .where(
                ApiToken.secret_sha256 == secret_sha256, ApiToken.expires_at > now, Account.disabled_at.is_(None)
            )
        )  # fmt: skip
        row = (await self._session.execute(statement)).one_or_none()
        return (row[0], row[1], row[2] or {}, bool(row[3])) if row is not None else None

    async def touch(self, token_id: int, now: datetime) -> None:
        """Note that the token was used."""
        await self._session.execute(update(ApiToken).where(ApiToken.id == token_id).values(last_used_at=now))

    async def of(self, account_id: int) -> Sequence[ApiToken]:
        """The tokens of an account, newest first."""
        statement = select(ApiToken).where(ApiToken.account_id == account_id).order_by(ApiToken.id.desc())
        return (await self._session.scalars(statement)).all()

    async def count(self, account_id: int) -> int:
        """How many tokens an account has."""
        return await self._session.scalar(select(func.count()).where(ApiToken.account_id == account_id)) or 0

    async def add(self, token: ApiToken) -> None:
        """Insert a token."""
        self._session.add(token)
        await self._session.flush()

    async def unused(self, account_id: int, token_id: int) -> ApiToken | None:
        """One token of this account that was never used; held until the end of the transaction."""
        statement = select(ApiToken).where(
            ApiToken.account_id == account_id, ApiToken.id == token_id, ApiToken.last_used_at.is_(None)
        )
        return (await self._session.scalars(statement.with_for_update())).one_or_none()

    async def revoke(self, account_id: int, token_id: int) -> str | None:
        """End one token of this account; its name, or None when there is no such."""
        statement = (
            delete(ApiToken)
            .where(ApiToken.account_id == account_id, ApiToken.id == token_id)
            .returning(ApiToken.name)
        )  # fmt: skip
        return await self._session.scalar(statement)

    async def revoke_all(self, account_id: int) -> int:
        """End all tokens of an account. Returns how many."""
        statement = delete(ApiToken).where(ApiToken.account_id == account_id).returning(ApiToken.id)
        return len((await self._session.execute(statement)).all())

    async def purge(self, before: datetime) -> int:
        """Forget tokens that ended before `before`. Returns how many."""
        statement = delete(ApiToken).where(ApiToken.expires_at < before).returning(ApiToken.id)
        return len((await self._session.execute(statement)).all())
