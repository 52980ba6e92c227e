"""Making, showing, renaming and removing passkeys, and logging in with one."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.models import Account
from elink_app.accounts.permissions import Principal
from elink_app.accounts.repository import AccountRepository, ThrottleRepository
from elink_app.accounts.service import Accounts
from elink_app.accounts.sessions import Client, Sessions
from elink_app.accounts.throttle import Throttle
from elink_app.audit.service import Actor, record
from elink_app.clock import JST, Clock
from elink_app.errors import InvalidInput, NotFound, Unauthenticated
from elink_app.passkeys import ceremonies
from elink_app.passkeys.ceremonies import Answer, Known, NotProved, RelyingParty
from elink_app.passkeys.models import Passkey, PasskeyChallenge
from elink_app.passkeys.repository import ChallengeRepository, PasskeyRepository
from elink_app.passkeys.schemas import PasskeyName, PasskeyOutput
from elink_app.registry.tenant import Tenant
from elink_app.security.factors import codes_count, new_recovery_codes, settle_recovery_codes
from elink_app.security.repository import RecoveryRepository
from elink_app.validation import field_error

MAX_PASSKEYS = 10
# What a challenge is good for.
_NEW, _LOG_IN, _SECOND = "new", "log_in", "second"


def hash_browser(secret: str) -> bytes:
    """What is kept of the cookie of the browser that was asked. It has 256 random bits: a fast hash is enough."""
    return hashlib.sha256(secret.encode()).digest()


@dataclass(frozen=True)
class Ceremony:
    """Who meets whom: the tenant, as relying party, and a browser.

    `browser` is the secret in the browser's cookie: of its session, or of its forms before log-in.
    """

    tenant: Tenant
    party: RelyingParty
    client: Client
    browser: str


@dataclass(frozen=True)
class Passkeys:
    """The ceremonies, with transactions of their own, as `Accounts` has them and for the same reasons."""

    accounts: Accounts

    async def begin_new(self, ceremony: Ceremony, principal: Principal, password: str) -> str:
        """Options to make a passkey. Raises InvalidInput for a wrong password or too many passkeys, TooManyAttempts."""
        await self.accounts.prove(ceremony.tenant, principal, password, ceremony.client)
        async with self.accounts.transactions(ceremony.tenant) as db:
            present = await PasskeyRepository(db).of(principal.account_id)
            if len(present) >= MAX_PASSKEYS:
                raise InvalidInput([field_error(("name",), "too_many_passkeys", max_length=MAX_PASSKEYS)])
            handle = present[0].user_handle if present else secrets.token_bytes(64)
            challenge = await self._ask(db, _NEW, ceremony.browser, principal.account_id, handle)
            name = principal.display_name
            return ceremonies.ask_for_new(ceremony.party, challenge, handle, principal.email, name, _known(present))

    async def finish_new(
        self, ceremony: Ceremony, principal: Principal, data: PasskeyName, text: str
    ) -> list[str] | None:
        """Keep the passkey that the browser's answer (`text`, JSON) holds; None when the answer is not right.

        Returns recovery codes when the account had none and they would let it in, else an empty list. Raises
        InvalidInput for too many.
        """
        try:
            answer = ceremonies.read_new(text)
            asked, handle = await self._take(ceremony, answer, (_NEW,))
            made = ceremonies.check_new(answer, ceremony.party)
        except NotProved:
            return None
        async with self.accounts.transactions(ceremony.tenant) as db:
            account = await AccountRepository(db).get(principal.account_id, lock=True)
            if account is None or account.disabled_at is not None:
                raise Unauthenticated
            rows = PasskeyRepository(db)
            if asked != account.id or handle is None or await rows.owner(made.credential_id) is not None:
                return None
            if await rows.count(account.id) >= MAX_PASSKEYS:
                raise InvalidInput([field_error(("name",), "too_many_passkeys", max_length=MAX_PASSKEYS)])
            passkey = Passkey(
                account_id=account.id,
                name=data.name,
                credential_id=made.credential_id,
                public_key=made.public_key,
                sign_count=made.sign_count,
                user_handle=handle,
                transports=made.transports,
                created_at=self.accounts.clock(),
            )
            await rows.add(passkey)
            if principal.session_id is not None:
                await Sessions(db, self.accounts.clock, self.accounts.policy).prove(principal.session_id)
            await self.accounts.note(db, account, ceremony.client, "account.add_passkey", {"name": data.name})
            if not await codes_count(db, account) or await RecoveryRepository(db).left(account.id):
                return []
            return await new_recovery_codes(db, account)

    async def begin_log_in(self, ceremony: Ceremony) -> str:
        """Options for a log-in by a passkey alone. Each counts as an attempt; raises TooManyAttempts."""
        async with self.accounts.transactions(ceremony.tenant) as db:
            await self._begin(db, None, ceremony)
            challenge = await self._ask(db, _LOG_IN, ceremony.browser)
            return ceremonies.ask_for_proof(ceremony.party, challenge, ())

    async def begin_second(self, ceremony: Ceremony) -> str:
        """Options for a passkey after the password. Raises TooManyAttempts; Unauthenticated when no log-in waits."""
        async with self.accounts.transactions(ceremony.tenant) as db:
            waiting = await self._waiting(db, ceremony.browser)
            if waiting is None:
                raise Unauthenticated
            await self._begin(db, waiting.email, ceremony)
            present = await PasskeyRepository(db).of(waiting.id)
            challenge = await self._ask(db, _SECOND, ceremony.browser, waiting.id)
            return ceremonies.ask_for_proof(ceremony.party, challenge, _known(present))

    async def finish(self, ceremony: Ceremony, text: str) -> str | None:
        """Log in when the browser's answer (`text`, JSON) is right: the secret of a new session, or None."""
        try:
            answer = ceremonies.read_proof(text)
            asked, _ = await self._take(ceremony, answer, (_LOG_IN, _SECOND))
            async with self.accounts.transactions(ceremony.tenant) as db:
                found = await self._log_in(db, ceremony, answer, asked)
        except NotProved:
            found = None
        if found is None:
            self.accounts.metrics.logins.labels("failure").inc()
        return found

    async def _begin(self, db: AsyncSession, email: str | None, ceremony: Ceremony) -> None:
        await self.accounts.begin(
            Throttle(ThrottleRepository(db), email, ceremony.client.address, self.accounts.clock())
        )

    async def _log_in(self, db: AsyncSession, ceremony: Ceremony, answer: Answer, asked: int | None) -> str | None:
        rows = PasskeyRepository(db)
        owner = await rows.owner(answer.credential_id)
        account = await AccountRepository(db).get(owner, lock=True) if owner is not None else None
        passkey = await rows.by_credential(answer.credential_id)
        if account is None or account.disabled_at is not None or passkey is None or passkey.account_id != account.id:
            raise NotProved
        # Asked for anybody's, the device says whose it is; asked for one of an account's, it may leave that out.
        expected = (passkey.user_handle,) if asked is None else (passkey.user_handle, None)
        if asked not in (None, account.id) or answer.user_handle not in expected:
            raise NotProved
        shown = ceremonies.check_proof(answer, ceremony.party, passkey.public_key)
        if ceremonies.is_copied(passkey.sign_count, shown):
            facts = {"name": passkey.name, "counter": f"{passkey.sign_count} → {shown}"}
            await self.accounts.note(db, account, ceremony.client, "account.refuse_passkey", facts)
            return None
        passkey.sign_count, passkey.last_used_at = shown, self.accounts.clock()
        return await self.accounts.welcome(
            db, account, ceremony.client, replaces=ceremony.browser, passkey=passkey.name
        )

    async def _waiting(self, db: AsyncSession, browser: str) -> Account | None:
        return await Sessions(db, self.accounts.clock, self.accounts.policy).awaiting_factor(browser)

    async def _ask(
        self,
        db: AsyncSession,
        purpose: str,
        browser: str,
        account_id: int | None = None,
        user_handle: bytes | None = None,
    ) -> bytes:
        challenge = secrets.token_bytes(32)
        await ChallengeRepository(db).add(
            PasskeyChallenge(
                challenge=challenge,
                purpose=purpose,
                browser_sha256=hash_browser(browser),
                account_id=account_id,
                user_handle=user_handle,
                expires_at=self.accounts.clock() + ceremonies.WITHIN,
            )
        )
        return challenge

    async def _take(
        self, ceremony: Ceremony, answer: Answer, purposes: Sequence[str]
    ) -> tuple[int | None, bytes | None]:
        """Whatever the answer is worth, its challenge is used up. Raises NotProved."""
        browser, now = hash_browser(ceremony.browser), self.accounts.clock()
        async with self.accounts.transactions(ceremony.tenant) as db:
            found = await ChallengeRepository(db).take(answer.challenge, purposes, browser, now)
        if found is None:
            raise NotProved
        return found


class OwnPasskeys:
    """The passkeys of the caller, within one transaction."""

    def __init__(self, db: AsyncSession, principal: Principal, actor: Actor, clock: Clock) -> None:
        self._db = db
        self._rows = PasskeyRepository(db)
        self._principal = principal
        self._actor = actor
        self._clock = clock

    async def all(self) -> list[PasskeyOutput]:
        """Every passkey, the oldest first."""
        return [to_output(row) for row in await self._rows.of(self._principal.account_id)]

    async def get(self, passkey_id: int) -> PasskeyOutput:
        """One passkey; raises NotFound."""
        return to_output(await self._load(passkey_id))

    async def rename(self, passkey_id: int, data: PasskeyName) -> PasskeyOutput:
        """Another name; raises NotFound."""
        await self._account()
        passkey = await self._load(passkey_id)
        before, passkey.name = passkey.name, data.name
        if before != data.name:
            await self._record("account.rename_passkey", passkey_id, before, data.name)
        return to_output(passkey)

    async def remove(self, passkey_id: int) -> None:
        """Forget a passkey; raises NotFound. The caller's password was asked for before."""
        account = await self._account()
        passkey = await self._load(passkey_id)
        await self._rows.remove(passkey)
        await settle_recovery_codes(self._db, account)
        await self._record("account.remove_passkey", passkey_id, passkey.name, None)

    async def _account(self) -> Account:
        account = await AccountRepository(self._db).get(self._principal.account_id, lock=True)
        if account is None:
            raise Unauthenticated
        return account

    async def _load(self, passkey_id: int) -> Passkey:
        passkey = await self._rows.get(self._principal.account_id, passkey_id)
        if passkey is None:
            raise NotFound
        return passkey

    async def _record(self, action: str, passkey_id: int, before: str, after: str | None) -> None:
        await record(
            self._db, self._actor, action, kind="passkey", key=str(passkey_id), before={"name": before},
            after={"name": after} if after is not None else None, now=self._clock(),
        )  # fmt: skip


def _known(rows: Sequence[Passkey]) -> list[Known]:
    return [Known(row.credential_id, row.transports) for row in rows]


def to_output(row: Passkey) -> PasskeyOutput:
    """A passkey as its owner sees it."""
    return PasskeyOutput(
        id=row.id,
        name=row.name,
        created_at=row.created_at.astimezone(JST),
        last_used_at=row.last_used_at.astimezone(JST) if row.last_used_at else None,
    )
