"""Links that set a password, once; the second factor of a log-in; the transfer of the master's place."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.models import Account
from elink_app.accounts.permissions import Principal
from elink_app.accounts.repository import AccountRepository, ThrottleRepository
from elink_app.accounts.service import Accounts, LoggedIn
from elink_app.accounts.sessions import Client, Sessions
from elink_app.accounts.throttle import Throttle
from elink_app.audit.service import Actor, record
from elink_app.errors import Forbidden, InvalidInput, NotFound, Unauthenticated
from elink_app.outbox.service import enqueue
from elink_app.passkeys.repository import PasskeyRepository
from elink_app.registry.tenant import Tenant
from elink_app.security import mails, totp
from elink_app.security.factors import codes_count, has_factor
from elink_app.security.repository import LinkRepository, OfferRepository, RecoveryRepository
from elink_app.validation import field_error

INVITE, RESET = "invite", "reset"
INVITE_HOLDS = timedelta(hours=72)
RESET_HOLDS = timedelta(hours=2)
OFFER_HOLDS = timedelta(hours=72)
# A second request within this time sends no second mail: nobody's mailbox is flooded through us.
_RESET_PAUSE = timedelta(minutes=5)
_TOKEN_LENGTH = 43


@dataclass(frozen=True)
class LinkView:
    """Whose password a living link sets, and why."""

    email: str
    purpose: str


def hash_link(token: str) -> bytes:
    """What is kept of a link's token. It has 256 random bits: a fast hash is enough."""
    return hashlib.sha256(token.encode()).digest()


async def send_invitation(db: AsyncSession, tenant: Tenant, account: Account, base_url: str, now: datetime) -> None:
    """Write a new link (an older one ends) and its mail into the transaction `db`."""
    token, until = secrets.token_urlsafe(32), now + INVITE_HOLDS
    await LinkRepository(db).issue(account.id, INVITE, hash_link(token), now, until)
    mail = mails.invitation(tenant.language, tenant.display_name, f"{base_url}/welcome?token={token}", until)
    await _write_to(db, account, mail, "invitation", until)


async def _write_to(
    db: AsyncSession, account: Account, mail: mails.MailText, kind: str, expires_at: datetime | None = None
) -> None:
    await enqueue(
        db, to=account.email, subject=mail.subject, text=mail.text, kind=kind, account_id=account.id,
        expires_at=expires_at,
    )  # fmt: skip


@dataclass(frozen=True)
class Ways:
    """What a log-in that waits for its second factor may be finished with."""

    passkey: bool
    codes: bool


@dataclass(frozen=True)
class Credentials:
    """Works with transactions of its own, as `Accounts` does and for the same reasons."""

    accounts: Accounts

    async def look_at_link(self, tenant: Tenant, token: str) -> LinkView | None:
        """What the link is for; None when it is not valid (any more). Changes nothing: mail scanners look too."""
        async with self.accounts.transactions(tenant) as db:
            account, purpose = await self._behind(db, token)
            return LinkView(account.email, purpose) if account is not None else None

    async def _behind(self, db: AsyncSession, token: str) -> tuple[Account | None, str]:
        if len(token) != _TOKEN_LENGTH:
            return None, ""
        link = await LinkRepository(db).find(hash_link(token), self.accounts.clock())
        account = await AccountRepository(db).get(link.account_id) if link is not None else None
        if link is None or account is None or account.disabled_at is not None:
            return None, ""
        return account, link.purpose

    async def use_link(
        self, tenant: Tenant, token: str, password: str, repeated: str, client: Client, *, replaces: str | None
    ) -> LoggedIn | None:
        """Set the password and log in; None when the link is not valid (any more).

        Raises InvalidInput for a password that is not accepted (the link stays good), TooManyAttempts. An account
        with a second factor is still asked for it.
        """
        async with self.accounts.transactions(tenant) as db:
            await self.accounts.begin(Throttle(ThrottleRepository(db), None, client.address, self.accounts.clock()))
            found, purpose = await self._behind(db, token)
        if found is None:
            return None
        try:
            hashed = await self.accounts.hash_new(tenant, found.id, found.email, password, repeated)
        except InvalidInput:
            # Used meanwhile, perhaps to set this very password: then the link is gone, whatever the password is.
            async with self.accounts.transactions(tenant) as db:
                if (await self._behind(db, token))[0] is None:
                    return None
            raise
        async with self.accounts.transactions(tenant) as db:
            if not await LinkRepository(db).use(hash_link(token), self.accounts.clock()):
                return None
            account = await AccountRepository(db).get(found.id, lock=True)
            if account is None or account.disabled_at is not None:
                return None
            await self.accounts.store_password(db, account, hashed)
            await LinkRepository(db).revoke(account.id)
            await self.accounts.note(
                db, account, client, "account.accept_invitation" if purpose == INVITE else "account.reset_password"
            )
            if purpose == RESET:
                mail = mails.password_changed(tenant.language, tenant.display_name)
                await _write_to(db, account, mail, "password-changed")
            if await has_factor(db, account):
                sessions = Sessions(db, self.accounts.clock, self.accounts.policy)
                secret = await sessions.open(account, client, replaces=replaces, awaits_factor=True)
                return LoggedIn(secret, awaits_factor=True)
            return LoggedIn(await self.accounts.welcome(db, account, client, replaces=replaces))

    async def count_request(self, tenant: Tenant, client: Client) -> None:
        """Count a request for a new password against the network address; raises TooManyAttempts."""
        async with self.accounts.transactions(tenant) as db:
            await self.accounts.begin(Throttle(ThrottleRepository(db), None, client.address, self.accounts.clock()))

    async def send_reset(self, tenant: Tenant, email: str, client: Client, base_url: str) -> bool:
        """Send a link for a new password if there is such an account that has one; True when a mail was written.

        Call it after the answer was sent: what it does, and how long it takes, tells nobody anything.
        """
        now = self.accounts.clock()
        async with self.accounts.transactions(tenant) as db:
            account = await AccountRepository(db).by_email(email)
            if account is None or account.disabled_at is not None or account.password_hash is None:
                return False
            links = LinkRepository(db)
            before = await links.of(account.id, RESET)
            if before is not None and now - before.created_at < _RESET_PAUSE:
                return False
            token, until = secrets.token_urlsafe(32), now + RESET_HOLDS
            await links.issue(account.id, RESET, hash_link(token), now, until)
            mail = mails.forgotten(tenant.language, tenant.display_name, f"{base_url}/welcome?token={token}", until)
            await _write_to(db, account, mail, "password-reset", until)
            actor = Actor(None, "", client.address)
            await record(
                db, actor, "account.ask_reset", kind="account", key=str(account.id), now=now
            )  # fmt: skip
            return True

    async def ways(self, tenant: Tenant, waiting_secret: str) -> Ways:
        """How the log-in that waits behind `waiting_secret` may be finished; by a code when none waits (any more)."""
        async with self.accounts.transactions(tenant) as db:
            waiting = await Sessions(db, self.accounts.clock, self.accounts.policy).awaiting_factor(waiting_secret)
            if waiting is None:
                return Ways(passkey=False, codes=True)
            passkey = await PasskeyRepository(db).count(waiting.id) > 0
            return Ways(passkey, await codes_count(db, waiting))

    async def second_factor(self, tenant: Tenant, waiting_secret: str, code: str, client: Client) -> str | None:
        """Finish a log-in with a code of the phone or a recovery code: the secret of a new session, or None, also for
        the right code of an account that must use its passkey (`passkeys.service`).

        Raises TooManyAttempts; Unauthenticated when no log-in waits (any more) behind `waiting_secret`.
        """
        clock, policy = self.accounts.clock, self.accounts.policy
        async with self.accounts.transactions(tenant) as db:
            waiting = await Sessions(db, clock, policy).awaiting_factor(waiting_secret)
            if waiting is None:
                raise Unauthenticated
            await self.accounts.begin(Throttle(ThrottleRepository(db), waiting.email, client.address, clock()))
        async with self.accounts.transactions(tenant) as db:
            account = await AccountRepository(db).get(waiting.id, lock=True)
            # Whoever changed the password or stopped the account meanwhile has ended what waited.
            if account is None or await Sessions(db, clock, policy).awaiting_factor(waiting_secret) is None:
                raise Unauthenticated
            if not await codes_count(db, account) or not await _is_right(db, account, code, clock()):
                self.accounts.metrics.logins.labels("failure").inc()
                return None
            return await self.accounts.welcome(db, account, client, replaces=waiting_secret)

    async def accept_master(self, tenant: Tenant, principal: Principal, password: str, client: Client) -> None:
        """Become the master. Raises InvalidInput for a wrong password, NotFound when no offer stands."""
        await self.accounts.prove(tenant, principal, password, client)
        now = self.accounts.clock()
        async with self.accounts.transactions(tenant) as db:
            rows = AccountRepository(db)
            master = await rows.master()
            heir = await rows.get(principal.account_id, lock=True)
            offered_by = await OfferRepository(db).take(principal.account_id, now)
            if master is None or heir is None or heir.disabled_at is not None or offered_by != master.id:
                raise NotFound
            await rows.depose(master)
            heir.is_master = True
            await db.flush()
            actor = Actor(heir.id, heir.email, client.address)
            facts = {"before": {"master": master.email}, "after": {"master": heir.email}}
            await record(db, actor, "master.accept", kind="account", key=str(heir.id), now=now, **facts)

    async def offer_master(
        self, tenant: Tenant, principal: Principal, to_id: int, password: str, client: Client, base_url: str
    ) -> None:
        """The master offers his place to an active user, who is told by mail; an older offer ends.

        Raises InvalidInput for a wrong password or a user who cannot take it, Forbidden for anybody but the master.
        """
        await self.accounts.prove(tenant, principal, password, client)
        now = self.accounts.clock()
        async with self.accounts.transactions(tenant) as db:
            rows = AccountRepository(db)
            master = await rows.master()
            if master is None or master.id != principal.account_id:
                raise Forbidden
            heir = await rows.get(to_id)
            if heir is None or heir is master or heir.disabled_at is not None or heir.password_hash is None:
                raise InvalidInput([field_error(("to",), "enum")])
            until = now + OFFER_HOLDS
            await OfferRepository(db).put(master.id, heir.id, until)
            url, name = f"{base_url}/settings/master", tenant.display_name
            mail = mails.master_offered(tenant.language, name, master.email, url, until)
            await _write_to(db, heir, mail, mails.OFFER_MAIL, until)
            actor = Actor(master.id, master.email, client.address)
            await record(db, actor, "master.offer", kind="account", key=str(heir.id), after={"to": heir.email}, now=now)


async def _is_right(db: AsyncSession, account: Account, code: str, now: datetime) -> bool:
    """True for the phone's code or an unused recovery code; either is then used up."""
    if account.totp_secret is not None:
        step = totp.step_of(account.totp_secret, code, now)
        if step is not None and step > account.totp_step:
            account.totp_step = step
            return True
    return await RecoveryRepository(db).use(account.id, totp.hash_recovery(account.id, code))
