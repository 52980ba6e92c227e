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
from elink_app.audit.service import Actor, record
from elink_app.clock import Clock
from elink_app.emails import email_key
from elink_app.errors import InvalidInput, TooManyAttempts, Unauthenticated
from elink_app.registry.tenant import Tenant
from elink_app.security.factors import drop_factors, has_factor
from elink_app.security.repository import LinkRepository, OfferRepository, OldPasswordRepository
from elink_app.telemetry.metrics import Metrics
from elink_app.text import has_refused_character
from elink_app.tokens.repository import TokenRepository
from elink_app.validation import field_error

# With the present one: as many as are refused again.
_REMEMBERED = 4

Transactions = Callable[[Tenant], AbstractAsyncContextManager[AsyncSession]]


class SetupLink(Enum):
    """What a set-up link is worth."""

    VALID = auto()
    USED = auto()
    EXPIRED = auto()
    UNKNOWN = auto()


@dataclass(frozen=True)
class LoggedIn:
    """The secret of a new session. One that `awaits_factor` opens nothing but the page of the second factor."""

    secret: str
    awaits_factor: bool = False


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
    ) -> LoggedIn | None:
        """A new session, or None: whether the account exists shows in nothing, not in the time either.

        Raises TooManyAttempts while attempts are held back.
        """
        now = self.clock()
        async with self.transactions(tenant) as session:
            await self.begin(Throttle(ThrottleRepository(session), email, client.address, now))
            account = await AccountRepository(session).by_email(email)
        usable = account is not None and account.disabled_at is None
        stored = account.password_hash if account is not None and usable else None
        right, renewed = await self.passwords.check(password, stored)
        if not right or account is None:
            self.metrics.logins.labels("failure").inc()
            return None
        async with self.transactions(tenant) as session:
            # Between the two transactions the password may have been changed, or the account disabled; locked, for that
            # ends the sessions that are there, and this one is not yet.
            current = await AccountRepository(session).get(account.id, lock=True)
            if current is None or current.disabled_at is not None or current.password_hash != stored:
                return None
            if renewed:
                current.password_hash = renewed
            sessions = Sessions(session, self.clock, self.policy)
            if await has_factor(session, current):
                # The attempt stays counted until the second factor was right too.
                waiting = await sessions.open(current, client, replaces=replaces, awaits_factor=True)
                return LoggedIn(waiting, awaits_factor=True)
            return LoggedIn(await self.welcome(session, current, client, replaces=replaces))

    async def welcome(
        self,
        session: AsyncSession,
        account: Account,
        client: Client,
        *,
        replaces: str | None,
        passkey: str | None = None,
    ) -> str:
        """Open a session for an account whose proofs were all right, and write that down. Returns its secret.

        `passkey` is the name of the passkey that proved it, if one did.
        """
        now = self.clock()
        await Throttle(ThrottleRepository(session), account.email, client.address, now).succeeded()
        sessions = Sessions(session, self.clock, self.policy)
        secret = await sessions.open(account, client, replaces=replaces, by_passkey=passkey is not None)
        self.metrics.logins.labels("success").inc()
        await self.note(
            session, account, client, "account.log_in", {"passkey": passkey} if passkey is not None else None
        )
        return secret

    async def note(
        self, session: AsyncSession, account: Account, client: Client, action: str, after: dict[str, str] | None = None
    ) -> None:
        """An audit line on what the account did with itself."""
        actor = Actor(account.id, account.email, client.address)
        await record(session, actor, action, kind="account", key=str(account.id), after=after, now=self.clock())

    async def begin(self, throttle: Throttle) -> None:
        """Count an attempt in advance; raises TooManyAttempts while attempts are held back."""
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

        When there is a master already, a new link gives it a new password and ends its sessions, API tokens, links in
        mails and the offer of its place. Raises InvalidInput for a password that is not accepted, TooManyAttempts
        after many wrong links.
        """
        async with self.transactions(tenant) as session:
            await self.begin(Throttle(ThrottleRepository(session), None, client.address, self.clock()))
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
            # Whoever asks the provider for a new link may have lost the phone too.
            await drop_factors(session, account)
            # The place may have gone to another person: nothing that was handed out before leads to it.
            await sessions.revoke_account(account.id)
            await TokenRepository(session).revoke_all(account.id)
            await LinkRepository(session).revoke(account.id)
            await OfferRepository(session).clear()
            await self.note(session, account, client, "master.set_up")
            return await self.welcome(session, account, client, replaces=replaces)

    async def _save_master(self, accounts: AccountRepository, email: str, hashed: str) -> Account:
        """The account of the link's e-mail, else the present master under that e-mail, else a new one."""
        now = self.clock()
        master, named = await accounts.master(), await accounts.by_email(email)
        account = named or master
        if account is None:
            account = Account(email=email, email_key=email_key(email), password_hash=hashed, is_master=True)
            account.password_changed_at = now
            await accounts.add(account)
            return account
        if master is not None and master is not account:
            await accounts.depose(master)
        account.email, account.email_key = email, email_key(email)
        account.password_hash, account.password_changed_at = hashed, now
        account.is_master, account.disabled_at, account.must_change_password = True, None, False
        return account

    async def change_password(
        self, tenant: Tenant, principal: Principal, current: str, password: str, repeated: str, client: Client
    ) -> str:
        """Set a new password, end every session of the account, and return the secret of a new one.

        Raises InvalidInput (also when `current` is wrong), TooManyAttempts.
        """
        await self.prove(tenant, principal, current, client)
        hashed = await self.hash_new(tenant, principal.account_id, principal.email, password, repeated)
        async with self.transactions(tenant) as session:
            changed = await AccountRepository(session).get(principal.account_id, lock=True)
            if changed is None or changed.disabled_at is not None:
                raise Unauthenticated
            await self.store_password(session, changed, hashed)
            await self.note(session, changed, client, "account.change_password")
            sessions = Sessions(session, self.clock, self.policy)
            return await sessions.open(changed, client, replaces=None, by_passkey=principal.by_passkey)

    async def prove(self, tenant: Tenant, principal: Principal, password: str, client: Client) -> None:
        """Ask for the password once more before something that matters.

        Raises InvalidInput for the field `current_password`, TooManyAttempts, Unauthenticated.
        """
        now = self.clock()
        async with self.transactions(tenant) as session:
            await self.begin(Throttle(ThrottleRepository(session), principal.email, client.address, now))
            account = await AccountRepository(session).get(principal.account_id)
        if account is None:
            raise Unauthenticated
        right, _ = await self.passwords.check(password, account.password_hash)
        if not right:
            self.metrics.logins.labels("failure").inc()
            raise InvalidInput([field_error(("current_password",), "password_wrong")])
        async with self.transactions(tenant) as session:
            await Throttle(ThrottleRepository(session), principal.email, client.address, now).succeeded()

    async def hash_new(self, tenant: Tenant, account_id: int, email: str, password: str, repeated: str) -> str:
        """The hash of a password that the rules accept; raises InvalidInput, also for one that was used before."""
        self._require_good_password(password, repeated, email)
        async with self.transactions(tenant) as session:
            account = await AccountRepository(session).get(account_id)
            old = list(await OldPasswordRepository(session).of(account_id))
        present = [account.password_hash] if account is not None and account.password_hash else []
        for known in [*present, *old]:
            if (await self.passwords.check(password, known))[0]:
                raise InvalidInput([field_error(("password",), "password_reused")])
        return await self.passwords.hash(password)

    async def store_password(self, session: AsyncSession, account: Account, hashed: str) -> None:
        """Set the password and end every session of the account; the old one is remembered, so that it stays old."""
        if account.password_hash:
            await OldPasswordRepository(session).push(account.id, account.password_hash, _REMEMBERED)
        account.password_hash, account.password_changed_at = hashed, self.clock()
        account.must_change_password = False
        await Sessions(session, self.clock, self.policy).revoke_account(account.id)

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
