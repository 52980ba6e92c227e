"""Log-in sessions: opaque secrets in the browser, hashes in the tenant's own database."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.models import Account, LoginSession
from elink_app.accounts.permissions import ALL, Principal, effective, known
from elink_app.accounts.repository import SessionRepository
from elink_app.clock import Clock

SECRET_LENGTH = 43
# From the right password to the second factor.
FACTOR_WITHIN = timedelta(minutes=10)
_TOUCH_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class Client:
    """Where a request comes from, as the gateway tells it."""

    address: str
    user_agent: str


@dataclass(frozen=True)
class SessionPolicy:
    """Without use a session ends after `idle`; in any case after `absolute`."""

    idle: timedelta
    absolute: timedelta


@dataclass(frozen=True)
class SessionView:
    """A session as its owner sees it."""

    id: int
    created_at: datetime
    last_seen_at: datetime
    address: str
    user_agent: str
    is_current: bool


def hash_secret(secret: str) -> bytes:
    """What is kept of a session's secret. It has 256 random bits: a fast hash is enough."""
    return hashlib.sha256(secret.encode()).digest()


def principal_of(
    account: Account, session_id: int | None, grants: Mapping[str, Sequence[str]], *, factor_due: bool
) -> Principal:
    """The account as the rest of the application knows it. `grants`: permissions by the id of each of its roles."""
    return Principal(
        account_id=account.id,
        email=account.email,
        display_name=account.display_name,
        is_master=account.is_master,
        permissions=ALL if account.is_master else effective(known(n for names in grants.values() for n in names)),
        session_id=session_id,
        roles=frozenset(map(int, grants)),
        must_change_password=account.must_change_password,
        must_add_factor=factor_due,
    )


class Sessions:
    """Sessions of one tenant within one transaction."""

    def __init__(self, session: AsyncSession, clock: Clock, policy: SessionPolicy) -> None:
        self._rows = SessionRepository(session)
        self._clock = clock
        self._policy = policy

    async def open(
        self,
        account: Account,
        client: Client,
        *,
        replaces: str | None,
        awaits_factor: bool = False,
        by_passkey: bool = False,
    ) -> str:
        """Start a session and return its secret. A session that the browser still had is ended (no fixation).

        One that `awaits_factor` is short and identifies nobody.
        """
        if replaces:
            await self._rows.revoke_secret(hash_secret(replaces))
        secret = secrets.token_urlsafe(32)
        now = self._clock()
        await self._rows.add(
            LoginSession(
                secret_sha256=hash_secret(secret),
                account_id=account.id,
                created_at=now,
                last_seen_at=now,
                expires_at=now + (FACTOR_WITHIN if awaits_factor else self._policy.absolute),
                address=client.address[:45],
                user_agent=client.user_agent[:200],
                awaits_factor=awaits_factor,
                by_passkey=by_passkey,
            )
        )
        return secret

    async def use(self, secret: str) -> Principal | None:
        """Who holds this secret, as `identify`; the use keeps the session alive."""
        found = await self._find(secret)
        if found is None:
            return None
        principal, session = found
        if (now := self._clock()) - session.last_seen_at > _TOUCH_EVERY:
            await self._rows.touch(session.id, now)
        return principal

    async def identify(self, secret: str) -> Principal | None:
        """Who holds this secret; None when the session is over, revoked or never was."""
        found = await self._find(secret)
        return found[0] if found is not None else None

    async def _find(self, secret: str) -> tuple[Principal, LoginSession] | None:
        if len(secret) != SECRET_LENGTH:
            return None
        now = self._clock()
        found = await self._rows.find(hash_secret(secret), now, now - self._policy.idle)
        if found is None:
            return None
        session, account, grants, factor_due, passkey_due = found
        who = principal_of(account, session.id, grants, factor_due=factor_due)
        return replace(who, by_passkey=session.by_passkey, must_use_passkey=passkey_due), session

    async def awaiting_factor(self, secret: str) -> Account | None:
        """Whose password was right when this secret was handed out, while the second factor is still to come."""
        if len(secret) != SECRET_LENGTH:
            return None
        return await self._rows.awaiting_factor(hash_secret(secret), self._clock())

    async def prove(self, session_id: int) -> None:
        """Note that a passkey proved the session."""
        await self._rows.prove(session_id)

    async def close(self, secret: str) -> None:
        """Log out."""
        await self._rows.revoke_secret(hash_secret(secret))

    async def of(self, principal: Principal) -> Sequence[SessionView]:
        """The living sessions of the account."""
        now = self._clock()
        rows = await self._rows.of_account(principal.account_id, now, now - self._policy.idle)
        return self._views(rows, principal)

    async def of_account(self, account_id: int, principal: Principal) -> Sequence[SessionView]:
        """The living sessions of another account, as `principal` sees them."""
        now = self._clock()
        return self._views(await self._rows.of_account(account_id, now, now - self._policy.idle), principal)

    @staticmethod
    def _views(rows: Sequence[LoginSession], principal: Principal) -> Sequence[SessionView]:
        return [
            SessionView(
                row.id, row.created_at, row.last_seen_at, row.address, row.user_agent, row.id == principal.session_id
            )
            for row in rows
        ]

    async def revoke(self, principal: Principal, session_id: int) -> bool:
        """End one of the account's own sessions; False when it has no such."""
        return await self._rows.revoke(principal.account_id, session_id)

    async def revoke_of(self, account_id: int, session_id: int) -> bool:
        """End one session of another account; False when it has no such."""
        return await self._rows.revoke(account_id, session_id)

    async def revoke_others(self, principal: Principal) -> int:
        """End all of the account's sessions but the one in use. Returns how many."""
        return await self._rows.revoke_all(principal.account_id, keep=principal.session_id)

    async def revoke_account(self, account_id: int) -> int:
        """End all sessions of an account: its password has changed. Returns how many."""
        return await self._rows.revoke_all(account_id)

    async def purge(self) -> int:
        """Remove sessions that are over. Returns how many."""
        now = self._clock()
        return await self._rows.purge(now, now - self._policy.idle)
