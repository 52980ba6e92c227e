"""Setting up the master account, logging in and out, changing the password."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum, auto

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.models import Account
from elink_app.accounts.passwords import Passwords, weakness
from elink_app.accounts.permissions import Principal
from elink_app.accounts.repository import AccountRepository, ThrottleRepository
from elink_app.accounts.sessions import Client, SessionPolicy, Sessions
from elink_app.accounts.throttle import Throttle
from elink_app.clock import Clock
from elink_app.emails import email_key
from elink_app.errors import InvalidInput, TooManyAttempts, Unauthenticated
from elink_app.registry.tenant import Tenant
from elink_app.telemetry.metrics import Metrics
from elink_app.text import has_refused_character
from elink_app.validation import field_error

Transactions = Callable[[Tenant], AbstractAsyncContextManager[AsyncSession]]


class SetupLink(Enum):
    """What a set-up link is worth."""

    VALID = auto()
    USED = auto()
    EXPIRED = auto()
    UNKNOWN = auto()


@dataclass(frozen=True)
class Accounts:
    """Works with transactions of its own: a failed attempt must be remembered though the log-in is refused,
    and no connection is held while a password is hashed."""

    transactions: Transactions
    passwords: Passwords
    clock: Clock
    policy: SessionPolicy
    metrics: Metrics

    async def log_in(
        self, tenant: Tenant, email: str, password: str, client: Client, *, replaces: str | None
    ) -> str | None:
        """The secret of a new session, or None: whether the account exists shows in nothing, not in the time either.

        Raises TooManyAttempts while attempts are held back.
        """
        now = self.clock()
        async with self.transactions(tenant) as session:
            await self._begin(Throttle(ThrottleRepository(session), email, client.address, now))
            account = await AccountRepository(session).by_email(email)
        usable = account is not None and account.disabled_at is None
        stored = account.password_hash if account is not None and usable else None
        right, renewed = await self.passwords.check(password, stored)
        if not right or account is None:
            self.metrics.logins.labels("failure").inc()
            return None
        async with self.transactions(tenant) as session:
            current = await AccountRepository(session).get(account.id)
            # Between the two transactions the password may have been changed, or the account disabled.
            if current is None or current.disabled_at is not None or current.password_hash != stored:
                return None
            if renewed:
                current.password_hash = renewed
            await Throttle(ThrottleRepository(session), email, client.address, now).succeeded()
            secret = await Sessions(session, self.clock, self.policy).open(current, client, replaces=replaces)
        self.metrics.logins.labels("success").inc()
        return secret

    async def _begin(self, throttle: Throttle) -> None:
        try:
            await throttle.begin()
        except TooManyAttempts:
            self.metrics.logins.labels("held_back").inc()
            raise

    async def check_setup_link(self, tenant: Tenant, token: str) -> SetupLink:
        """What the link is worth now; only who holds the right token learns more than UNKNOWN. Changes nothing."""
        link = self._judge(tenant, token)
        if link is SetupLink.UNKNOWN:
            return link
        async with self.transactions(tenant) as session:
            used = await AccountRepository(session).setup_token_used(tenant.setup_token_sha256)
        return SetupLink.USED if used else link

    def _judge(self, tenant: Tenant, token: str) -> SetupLink:
        given = hashlib.sha256(token.encode()).hexdigest()
        wanted = tenant.setup_token_sha256
        if not hmac.compare_digest(given.encode(), (wanted or "-" * 64).encode()):
            return SetupLink.UNKNOWN
        if tenant.setup_expires_at is None or tenant.setup_expires_at <= self.clock():
            return SetupLink.EXPIRED
        return SetupLink.VALID

    async def set_up_master(
        self, tenant: Tenant, token: str, password: str, repeated: str, client: Client, *, replaces: str | None
    ) -> str | SetupLink:
        """Make the master account and return the secret of its first session, or say what is wrong with the link.

        When there is a master already, a new link gives it a new password and ends its sessions. Raises
        InvalidInput for a password that is not accepted, TooManyAttempts after many wrong links.
        """
        async with self.transactions(tenant) as session:
            await self._begin(Throttle(ThrottleRepository(session), None, client.address, self.clock()))
        link = await self.check_setup_link(tenant, token)
        if link is not SetupLink.VALID:
            return link
        self._require_good_password(password, repeated, tenant.master_email)
        hashed = await self.passwords.hash(password)
        async with self.transactions(tenant) as session:
            accounts = AccountRepository(session)
            if not await accounts.use_setup_token(tenant.setup_token_sha256):
                return SetupLink.USED
            sessions = Sessions(session, self.clock, self.policy)
            account = await self._save_master(accounts, tenant.master_email, hashed)
            await sessions.revoke_account(account.id)
            await Throttle(ThrottleRepository(session), tenant.master_email, client.address, self.clock()).succeeded()
            return await sessions.open(account, client, replaces=replaces)

    async def _save_master(self, accounts: AccountRepository, email: str, hashed: str) -> Account:
        now = self.clock()
        account = await accounts.master() or await accounts.by_email(email)
        if account is None:
            account = Account(email=email, email_key=email_key(email), password_hash=hashed, is_master=True)
            account.password_changed_at = now
            await accounts.add(account)
            return account
        account.email, account.email_key = email, email_key(email)
        account.password_hash, account.password_changed_at = hashed, now
        account.is_master, account.disabled_at = True, None
        return account

    async def change_password(
        self, tenant: Tenant, principal: Principal, current: str, password: str, repeated: str, client: Client
    ) -> str:
        """Set a new password, end every session of the account, and return the secret of a new one.

        Raises InvalidInput (also when `current` is wrong), TooManyAttempts.
        """
        self._require_good_password(password, repeated, principal.email)
        now = self.clock()
        async with self.transactions(tenant) as session:
            await self._begin(Throttle(ThrottleRepository(session), principal.email, client.address, now))
            account = await AccountRepository(session).get(principal.account_id)
        if account is None:
            raise Unauthenticated
        right, _ = await self.passwords.check(current, account.password_hash)
        if not right:
            self.metrics.logins.labels("failure").inc()
            raise InvalidInput([field_error(("current_password",), "password_wrong")])
        hashed = await self.passwords.hash(password)
        async with self.transactions(tenant) as session:
            changed = await AccountRepository(session).get(principal.account_id)
            if changed is None or changed.disabled_at is not None:
                raise Unauthenticated
            changed.password_hash, changed.password_changed_at = hashed, now
            await Throttle(ThrottleRepository(session), principal.email, client.address, now).succeeded()
            sessions = Sessions(session, self.clock, self.policy)
            await sessions.revoke_account(changed.id)
            return await sessions.open(changed, client, replaces=None)

    @staticmethod
    def _require_good_password(password: str, repeated: str, email: str) -> None:
        errors = []
        code = "control_character" if has_refused_character(password) else weakness(password, email)
        if code:
            errors.append(field_error(("password",), code, min_length=12, max_length=256))
        elif password != repeated:
            errors.append(field_error(("password_repeated",), "password_mismatch"))
        if errors:
            raise InvalidInput(errors)
