"""An account's second factors: the codes of a phone, and passkeys. Recovery codes stand in for either."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.models import Account
from elink_app.passkeys.repository import PasskeyRepository
from elink_app.security import totp
from elink_app.security.repository import RecoveryRepository, RulesRepository
from elink_app.security.rules import FactorRule


async def has_factor(db: AsyncSession, account: Account) -> bool:
    """True when the password alone does not let the account in."""
    return account.totp_secret is not None or await PasskeyRepository(db).count(account.id) > 0


async def codes_count(db: AsyncSession, account: Account) -> bool:
    """True when one-time and recovery codes let the account in.

    They do not where passkeys alone are accepted, except for who has none yet and must get in to make one.
    """
    rule = await RulesRepository(db).factor_rule()
    return rule is not FactorRule.PASSKEYS or await PasskeyRepository(db).count(account.id) == 0


async def new_recovery_codes(db: AsyncSession, account: Account) -> list[str]:
    """Give the account new recovery codes in place of the old ones, and return them."""
    codes = totp.new_recovery_codes()
    await RecoveryRepository(db).replace(account.id, [totp.hash_recovery(account.id, code) for code in codes])
    return codes


async def settle_recovery_codes(db: AsyncSession, account: Account) -> None:
    """Take the recovery codes away when there is nothing left that they stand in for."""
    if not await has_factor(db, account):
        await RecoveryRepository(db).replace(account.id, [])


async def drop_factors(db: AsyncSession, account: Account) -> int:
    """Take every second factor of the account away. Returns how many passkeys it had."""
    account.totp_secret = account.totp_pending = None
    passkeys = await PasskeyRepository(db).remove_all(account.id)
    await RecoveryRepository(db).replace(account.id, [])
    return passkeys
