"""Log-in sessions: opaque secrets in the browser, hashes in the tenant's own database."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.models import Account, LoginSession
from elink_app.accounts.permissions import ALL, NONE, Principal
from elink_app.accounts.repository import SessionRepository
from elink_app.clock import Clock

SECRET_LENGTH = 43
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


def principal_of(account: Account, session_id: int | None) -> Principal:
    """The account as the rest of the application knows it."""
    return Principal(
        account_id=account.id,
        email=account.email,
        display_name=account.display_name,
        is_master=account.is_master,
        permissions=ALL if account.is_master else NONE,
        session_id=session_id,
    )


class Sessions:
    """Sessions of one tenant within one transaction."""

    def __init__(self, session: AsyncSession, clock: Clock, policy: SessionPolicy) -> None:
        self._rows = SessionRepository(session)
        self._clock = clock
        self._policy = policy

    async def open(self, account: Account, client: Client, *, replaces: str | None) -> str:
        """Start a session and return its secret. A session that the browser still had is ended (no fixation)."""
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
                expires_at=now + self._policy.absolute,
                address=client.address[:45],
                user_agent=client.user_agent[:200],
            )
        )
        return secret

    async def identify(self, secret: str) -> Principal | None:
        """Who holds this secret; None when the session is over, revoked or never was."""
        if len(secret) != SECRET_LENGTH:
            return None
        now = self._clock()
        found = await self._rows.find(hash_secret(secret), now, now - self._policy.idle)
        if found is None:
            return None
        session, account = found
        if now - session.last_seen_at > _TOUCH_EVERY:
            await self._rows.touch(session.id, now)
        return principal_of(account, session.id)

    async def close(self, secret: str) -> None:
        """Log out."""
        await self._rows.revoke_secret(hash_secret(secret))

    async def of(self, principal: Principal) -> Sequence[SessionView]:
        """The living sessions of the account."""
        now = self._clock()
        rows = await self._rows.of_account(principal.account_id, now, now - self._policy.idle)
        return [
            SessionView(
                row.id, row.created_at, row.last_seen_at, row.address, row.user_agent, row.id == principal.session_id
            )
            for row in rows
        ]

    async def revoke(self, principal: Principal, session_id: int) -> bool:
        """End one of the account's own sessions; False when it has no such."""
        return await self._rows.revoke(principal.account_id, session_id)

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
