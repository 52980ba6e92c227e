"""The second factors of the caller, as pages and API show and change them. Passkeys: `passkeys.service`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.models import Account
from elink_app.accounts.permissions import Principal
from elink_app.accounts.repository import AccountRepository
from elink_app.audit.service import Actor, record
from elink_app.errors import InvalidInput, NotFound, Unauthenticated
from elink_app.passkeys.repository import PasskeyRepository
from elink_app.passkeys.schemas import PasskeyOutput
from elink_app.passkeys.service import to_output
from elink_app.security import totp
from elink_app.security.factors import codes_count, has_factor, new_recovery_codes, settle_recovery_codes
from elink_app.security.repository import RecoveryRepository, RulesRepository
from elink_app.security.rules import FactorRule
from elink_app.validation import field_error


@dataclass(frozen=True)
class FactorState:
    """An account's second factors: the codes of a phone, passkeys; and how many recovery codes are left.

    `passkeys_only`: codes let nobody in who has a passkey, and whoever has none must make one.
    """

    totp: bool
    passkeys: list[PasskeyOutput]
    recovery_codes: int
    passkeys_only: bool


class OwnFactor:
    """Within one transaction. What the caller must prove before is the routes' to ask."""

    def __init__(self, db: AsyncSession, principal: Principal, actor: Actor, now: datetime) -> None:
        self._db = db
        self._principal = principal
        self._actor = actor
        self._now = now

    async def _account(self) -> Account:
        account = await AccountRepository(self._db).get(self._principal.account_id, lock=True)
        if account is None:
            raise Unauthenticated
        return account

    async def state(self) -> FactorState:
        """What there is at present."""
        account = await self._account()
        passkeys = [to_output(row) for row in await PasskeyRepository(self._db).of(account.id)]
        left = await RecoveryRepository(self._db).left(account.id)
        return FactorState(account.totp_secret is not None, passkeys, left, await self._passkeys_only())

    async def _passkeys_only(self) -> bool:
        return await RulesRepository(self._db).factor_rule() is FactorRule.PASSKEYS

    async def begin(self) -> str:
        """The secret to be tried out; the same until it is confirmed or a new one is asked for."""
        account = await self._account()
        if account.totp_pending is None:
            account.totp_pending = totp.new_secret()
        return account.totp_pending

    async def confirm(self, code: str) -> list[str]:
        """Switch it on when the phone shows the right code; returns the recovery codes.

        Raises InvalidInput for a wrong code, NotFound where passkeys alone are accepted.
        """
        if await self._passkeys_only():
            raise NotFound
        account = await self._account()
        step = totp.step_of(account.totp_pending, code, self._now) if account.totp_pending else None
        if step is None:
            raise InvalidInput([field_error(("code",), "code_wrong")])
        account.totp_secret, account.totp_pending, account.totp_step = account.totp_pending, None, step
        return await self._new_codes(account, "account.add_factor")

    async def renew_codes(self) -> list[str]:
        """New recovery codes in place of the old ones. Raises NotFound for an account that none would let in."""
        account = await self._account()
        if not await has_factor(self._db, account) or not await codes_count(self._db, account):
            raise NotFound
        return await self._new_codes(account, "account.renew_recovery")

    async def _new_codes(self, account: Account, action: str) -> list[str]:
        codes = await new_recovery_codes(self._db, account)
        await self._record(action)
        return codes

    async def remove(self) -> None:
        """Switch it off. Raises NotFound while it is off."""
        account = await self._account()
        if account.totp_secret is None:
            raise NotFound
        account.totp_secret = account.totp_pending = None
        await settle_recovery_codes(self._db, account)
        await self._record("account.remove_factor")

    async def _record(self, action: str) -> None:
        key = str(self._principal.account_id)
        await record(self._db, self._actor, action, kind="account", key=key, now=self._now)
