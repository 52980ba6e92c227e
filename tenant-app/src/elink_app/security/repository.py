"""All SQL of links, old passwords, recovery codes, rules and the offer of the master's place."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from elink_app.passkeys.repository import has_passkey
from elink_app.security.models import AccountLink, MasterOffer, OldPassword, RecoveryCode, SecurityRules
from elink_app.security.rules import FactorRule


def factor_due(
    account_id: InstrumentedAttribute[int], totp_secret: InstrumentedAttribute[str | None]
) -> ColumnElement[bool]:
    """Whether the tenant demands a second factor of an account that has none, as a part of another query."""
    any_ = select(SecurityRules.second_factor_for_all).scalar_subquery()
    passkey = select(SecurityRules.passkeys_only).scalar_subquery()
    due = or_(and_(func.coalesce(any_, False), totp_secret.is_(None)), func.coalesce(passkey, False))
    return and_(due, ~has_passkey(account_id))


def passkey_due(account_id: InstrumentedAttribute[int], by_passkey: InstrumentedAttribute[bool]) -> ColumnElement[bool]:
    """Whether a session counts no more: the tenant accepts passkeys only, and the account has one that it was not
    opened with. A part of another query."""
    passkeys_only = select(SecurityRules.passkeys_only).scalar_subquery()
    return and_(func.coalesce(passkeys_only, False), by_passkey.is_(False), has_passkey(account_id))


class LinkRepository:
    """Rows of `account_link`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def issue(self, account_id: int, purpose: str, token_sha256: bytes, now: datetime, until: datetime) -> None:
        """Write a link; an older one of the account for the same purpose ends."""
        values = {"token_sha256": token_sha256, "created_at": now, "expires_at": until}
        row = insert(AccountLink).values(account_id=account_id, purpose=purpose, **values)
        await self._session.execute(row.on_conflict_do_update(index_elements=["account_id", "purpose"], set_=values))

    async def find(self, token_sha256: bytes, now: datetime) -> AccountLink | None:
        """The living link with this hash."""
        statement = select(AccountLink).where(AccountLink.token_sha256 == token_sha256, AccountLink.expires_at > now)
        return (await self._session.scalars(statement)).one_or_none()

    async def of(self, account_id: int, purpose: str) -> AccountLink | None:
        """The link of an account, over or not."""
        statement = select(AccountLink).where(AccountLink.account_id == account_id, AccountLink.purpose == purpose)
        return (await self._session.scalars(statement)).one_or_none()

    async def use(self, token_sha256: bytes, now: datetime) -> bool:
        """Take the link away; False when it was used, replaced or over. A rival waits here for our transaction."""
        statement = (
            delete(AccountLink)
            .where(AccountLink.token_sha256 == token_sha256, AccountLink.expires_at > now)
            .returning(AccountLink.id)
        )
        return await self._session.scalar(statement) is not None

    async def revoke(self, account_id: int, purpose: str | None = None) -> bool:
        """End the links of an account; False when there were none."""
        statement = delete(AccountLink).where(AccountLink.account_id == account_id)
        if purpose is not None:
            statement = statement.where(AccountLink.purpose == purpose)
        return bool((await self._session.execute(statement.returning(AccountLink.id))).all())

    async def purge(self, before: datetime) -> int:
        """Forget links that ended before `before`. Returns how many."""
        statement = delete(AccountLink).where(AccountLink.expires_at < before).returning(AccountLink.id)
        return len((await self._session.execute(statement)).all())


class OldPasswordRepository:
    """Rows of `old_password`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def of(self, account_id: int) -> Sequence[str]:
        """The hashes that are remembered, newest first."""
        statement = (
            select(OldPassword.password_hash)
            .where(OldPassword.account_id == account_id)
            .order_by(OldPassword.id.desc())
        )
        return (await self._session.scalars(statement)).all()

    async def push(self, account_id: int, password_hash: str, keep: int) -> None:
        """Remember a hash, and no more than `keep`."""
        self._session.add(OldPassword(account_id=account_id, password_hash=password_hash))
        await self._session.flush()
        newest = (
            select(OldPassword.id)
            .where(OldPassword.account_id == account_id)
            .order_by(OldPassword.id.desc())
            .limit(keep)
        )
        await self._session.execute(
            delete(OldPassword).where(OldPassword.account_id == account_id, OldPassword.id.not_in(newest))
        )


class RecoveryRepository:
    """Rows of `recovery_code`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def replace(self, account_id: int, hashes: Collection[bytes]) -> None:
        """The account has exactly these codes."""
        await self._session.execute(delete(RecoveryCode).where(RecoveryCode.account_id == account_id))
        self._session.add_all(RecoveryCode(account_id=account_id, code_sha256=value) for value in hashes)
        await self._session.flush()

    async def use(self, account_id: int, code_sha256: bytes) -> bool:
        """Take a code away; False when the account has no such."""
        statement = (
            delete(RecoveryCode)
            .where(RecoveryCode.account_id == account_id, RecoveryCode.code_sha256 == code_sha256)
            .returning(RecoveryCode.account_id)
        )
        return await self._session.scalar(statement) is not None

    async def left(self, account_id: int) -> int:
        """How many codes the account has left."""
        statement = select(func.count()).where(RecoveryCode.account_id == account_id)
        return await self._session.scalar(statement) or 0


class RulesRepository:
    """The row of `security_rules`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def factor_rule(self) -> FactorRule:
        """What the master demands of everybody."""
        row = (
            await self._session.execute(select(SecurityRules.second_factor_for_all, SecurityRules.passkeys_only))
        ).one()
        return FactorRule.of(second_factor=row[0], passkeys_only=row[1])

    async def demand(self, rule: FactorRule) -> None:
        """Set the rule."""
        await self._session.execute(update(SecurityRules).values(**rule.boxes))


class OfferRepository:
    """The row of `master_offer`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def put(self, from_id: int, to_id: int, until: datetime) -> None:
        """Write the offer in place of an older one."""
        values = {"from_id": from_id, "to_id": to_id, "expires_at": until}
        row = insert(MasterOffer).values(id=1, **values)
        await self._session.execute(row.on_conflict_do_update(index_elements=["id"], set_=values))

    async def get(self, now: datetime) -> MasterOffer | None:
        """The offer, unless it is over."""
        return (await self._session.scalars(select(MasterOffer).where(MasterOffer.expires_at > now))).one_or_none()

    async def take(self, to_id: int, now: datetime) -> int | None:
        """Take the offer to this account away and return whose it was; None when there is none or it is over."""
        statement = (
            delete(MasterOffer)
            .where(MasterOffer.to_id == to_id, MasterOffer.expires_at > now)
            .returning(MasterOffer.from_id)
        )
        return await self._session.scalar(statement)

    async def clear(self) -> bool:
        """Withdraw or decline the offer; False when there was none."""
        return bool((await self._session.execute(delete(MasterOffer).returning(MasterOffer.id))).all())
