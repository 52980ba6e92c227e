"""All SQL of accounts, sessions, set-up marks and the log-in throttle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import BigInteger, ColumnElement, case, cast, delete, extract, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.models import Account, LoginSession, LoginThrottle, UsedSetupToken
from elink_app.emails import email_key
from elink_app.roles.repository import grants_of
from elink_app.security.repository import factor_due, passkey_due

Grants = Mapping[str, Sequence[str]]


class AccountRepository:
    """Reads and writes within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def by_email(self, email: str) -> Account | None:
        """The account that logs in with this e-mail."""
        statement = select(Account).where(Account.email_key == email_key(email))
        return (await self._session.scalars(statement)).one_or_none()

    async def get(self, account_id: int, *, lock: bool = False) -> Account | None:
        """The account with this id."""
        return await self._session.get(Account, account_id, with_for_update=lock or None)

    async def master(self) -> Account | None:
        """The master account, locked."""
        statement = select(Account).where(Account.is_master).with_for_update()
        return (await self._session.scalars(statement)).one_or_none()

    async def active_users(self) -> list[tuple[int, str]]:
        """Ids and e-mails of all who can log in, but the master."""
        statement = (
            select(Account.id, Account.email)
            .where(Account.is_master.is_(False), Account.disabled_at.is_(None), Account.password_hash.is_not(None))
            .order_by(Account.email_key)
        )
        return [(row[0], row[1]) for row in await self._session.execute(statement)]

    async def depose(self, master: Account) -> None:
        """Make the master an ordinary account, before another one becomes master: there is never a second."""
        master.is_master = False
        await self._session.flush()

    async def add(self, account: Account) -> None:
        """Insert an account."""
        self._session.add(account)
        await self._session.flush()

    async def use_setup_token(self, token_sha256: str) -> bool:
        """Mark the token as used; False when it was before. A rival transaction waits here for ours."""
        statement = (
            insert(UsedSetupToken)
            .values(token_sha256=token_sha256)
            .on_conflict_do_nothing()
            .returning(UsedSetupToken.token_sha256)
        )
        return await self._session.scalar(statement) is not None

    async def setup_token_used(self, token_sha256: str) -> bool:
        """True when the token has done its work."""
        return await self._session.get(UsedSetupToken, token_sha256) is not None

    async def purge_setup_tokens(self, before: datetime, current: str) -> int:
        """Forget marks from before `before`, but never that of the registry's current token."""
        statement = (
            delete(UsedSetupToken)
            .where(UsedSetupToken.used_at < before, UsedSetupToken.token_sha256 != current)
            .returning(UsedSetupToken.token_sha256)
        )
        return len((await self._session.execute(statement)).all())


class SessionRepository:
    """Rows of `session`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def find(
        self, secret_sha256: bytes, now: datetime, idle_since: datetime
    ) -> tuple[LoginSession, Account, Grants, bool, bool] | None:
        """The living session with this hash and its account unless that is disabled; in the same query its roles'
        permissions, whether the tenant demands a second factor that it does not have, and a passkey of the session."""
        due = factor_due(Account.id, Account.totp_secret)
        again = passkey_due(Account.id, LoginSession.by_passkey)
        statement = (
            select(LoginSession, Account, grants_of(Account.id), due, again)
            .join(Account, Account.id == LoginSession.account_id)
            .where(
                LoginSession.secret_sha256 == secret_sha256,
                LoginSession.expires_at > now,
                LoginSession.last_seen_at > idle_since,
                LoginSession.awaits_factor.is_(False),
                Account.disabled_at.is_(None),
            )
        )
        row = (await self._session.execute(statement)).one_or_none()
        return (row[0], row[1], row[2] or {}, bool(row[3]), bool(row[4])) if row is not None else None

    async def awaiting_factor(self, secret_sha256: bytes, now: datetime) -> Account | None:
        """The account of the session with this hash that waits for its second factor."""
        statement = (
            select(Account)
            .join(LoginSession, LoginSession.account_id == Account.id)
            .where(
                LoginSession.secret_sha256 == secret_sha256,
                LoginSession.expires_at > now,
                LoginSession.awaits_factor,
                Account.disabled_at.is_(None),
            )
        )
        return (await self._session.scalars(statement)).one_or_none()

    async def add(self, row: LoginSession) -> None:
        """Insert a session."""
        self._session.add(row)
        await self._session.flush()

    async def touch(self, session_id: int, now: datetime) -> None:
        """Note that the session was used."""
        await self._session.execute(update(LoginSession).where(LoginSession.id == session_id).values(last_seen_at=now))

    async def prove(self, session_id: int) -> None:
        """Note that a passkey proved the session."""
        await self._session.execute(update(LoginSession).where(LoginSession.id == session_id).values(by_passkey=True))

    async def of_account(self, account_id: int, now: datetime, idle_since: datetime) -> Sequence[LoginSession]:
        """The living sessions of an account, the one used last first."""
        statement = (
            select(LoginSession)
            .where(
                LoginSession.account_id == account_id,
                LoginSession.expires_at > now,
                LoginSession.last_seen_at > idle_since,
                LoginSession.awaits_factor.is_(False),
            )
            .order_by(LoginSession.last_seen_at.desc(), LoginSession.id.desc())
            .limit(100)
        )
        return (await self._session.scalars(statement)).all()

    async def revoke(self, account_id: int, session_id: int) -> bool:
        """End one session of this account; False when there is no such."""
        statement = (
            delete(LoginSession)
            .where(LoginSession.account_id == account_id, LoginSession.id == session_id)
            .returning(LoginSession.id)
        )
        return await self._session.scalar(statement) is not None

    async def revoke_all(self, account_id: int, *, keep: int | None = None) -> int:
        """End all sessions of this account but `keep`. Returns how many."""
        statement = delete(LoginSession).where(LoginSession.account_id == account_id)
        if keep is not None:
            statement = statement.where(LoginSession.id != keep)
        return len((await self._session.execute(statement.returning(LoginSession.id))).all())

    async def revoke_secret(self, secret_sha256: bytes) -> None:
        """End the session with this hash, if any."""
        await self._session.execute(delete(LoginSession).where(LoginSession.secret_sha256 == secret_sha256))

    async def purge(self, now: datetime, idle_since: datetime) -> int:
        """Remove dead sessions. Returns how many."""
        statement = (
            delete(LoginSession)
            .where((LoginSession.expires_at <= now) | (LoginSession.last_seen_at <= idle_since))
            .returning(LoginSession.id)
        )
        return len((await self._session.execute(statement)).all())


class ThrottleRepository:
    """Rows of `login_throttle`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def blocked_until(self, keys: Sequence[str], now: datetime) -> datetime | None:
        """The latest end of a block that still holds one of the keys, or None."""
        statement = select(func.max(LoginThrottle.blocked_until)).where(
            LoginThrottle.key.in_(keys), LoginThrottle.blocked_until > now
        )
        return await self._session.scalar(statement)

    async def count_attempt(
        self, key: str, now: datetime, forget_before: datetime, *, forget_one_in: timedelta | None = None
    ) -> tuple[int, datetime | None]:
        """Count one more attempt before its outcome is known.

        All failures are forgotten when there was no attempt since `forget_before`; with `forget_one_in` one of them
        in each such time too, whatever comes meanwhile.

        Returns the failures so far with this one, and the end of a block that another attempt has set. Attempts on
        one key pass here one after the other: each waits until the transaction of the one before has ended.
        """
        row = insert(LoginThrottle).values(key=key, failures=1, last_attempt_at=now)
        before, since = LoginThrottle.failures, LoginThrottle.last_attempt_at
        left: ColumnElement[int] = before.expression
        moment: ColumnElement[datetime] = literal(now)
        if forget_one_in is not None:
            # What is left of a period counts for the next one: people who come every minute have their failures
            # forgotten as fast as those who come once a day.
            periods = func.greatest(0, func.floor(extract("epoch", moment - since) / forget_one_in.total_seconds()))
            left = func.greatest(0, before - cast(periods, BigInteger))
            moment = case((left > 0, since + periods * literal(forget_one_in)), else_=moment)
        statement = row.on_conflict_do_update(
            index_elements=["key"],
            # Old failures are forgotten.
            set_={
                "failures": case((since > forget_before, left + 1), else_=1),
                "last_attempt_at": case((since > forget_before, moment), else_=now),
            },
        ).returning(LoginThrottle.failures, LoginThrottle.blocked_until)
        row_now = (await self._session.execute(statement)).one()
        return row_now[0], row_now[1]

    async def block(self, key: str, until: datetime) -> None:
        """Hold the key back until `until`."""
        await self._session.execute(update(LoginThrottle).where(LoginThrottle.key == key).values(blocked_until=until))

    async def forgive(self, key: str, *, whole: bool) -> None:
        """After a success: forget the key, or take back the one attempt."""
        if whole:
            await self._session.execute(delete(LoginThrottle).where(LoginThrottle.key == key))
            return
        await self._session.execute(
            update(LoginThrottle)
            .where(LoginThrottle.key == key)
            .values(failures=func.greatest(LoginThrottle.failures - 1, 0), blocked_until=None)
        )

    async def purge(self, before: datetime) -> int:
        """Forget keys without an attempt since `before`. Returns how many."""
        statement = delete(LoginThrottle).where(LoginThrottle.last_attempt_at < before).returning(LoginThrottle.key)
        return len((await self._session.execute(statement)).all())
