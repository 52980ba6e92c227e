"""Holds back log-in attempts: per account name and per network address, longer with every failure."""

from __future__ import annotations

import hashlib
import ipaddress
import math
from datetime import datetime, timedelta

from elink_app.accounts.repository import ThrottleRepository
from elink_app.emails import email_key
from elink_app.errors import TooManyAttempts

# Free tries; then each further failure doubles the wait, up to the longest.
ACCOUNT_TRIES = 5
ADDRESS_TRIES = 20
FIRST_WAIT = timedelta(seconds=15)
LONGEST_WAIT = timedelta(minutes=15)
FORGET_AFTER = timedelta(hours=24)
# Else the slips of an office behind one address would add up for ever, and then one more would lock out all of it. Who
# guesses gains nothing: at the longest wait he has no more attempts than these.
FORGET_ONE_IN = LONGEST_WAIT


def wait_after(failures: int, tries: int) -> timedelta:
    """How long to hold back after so many failures."""
    if failures < tries:
        return timedelta(0)
    doublings = min(failures - tries, 10)
    return min(FIRST_WAIT * (1 << doublings), LONGEST_WAIT)


def account_key(email: str) -> str:
    """The key of an account name, whether or not there is such an account."""
    return "a:" + hashlib.sha256(email_key(email).encode()).hexdigest()


def address_key(address: str) -> str:
    """The key of a network address: one IPv4 address, or the /64 that one IPv6 customer has."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return "n:unknown"
    if isinstance(found, ipaddress.IPv6Address):
        return f"n:{ipaddress.ip_network((found, 64), strict=False)}"
    return f"n:{found}"


class Throttle:
    """Used around one attempt: `begin` before the password is checked, `succeeded` after it was right."""

    def __init__(self, rows: ThrottleRepository, email: str | None, address: str, now: datetime) -> None:
        self._rows = rows
        self._now = now
        self._keys = {address_key(address): ADDRESS_TRIES}
        self._account = account_key(email) if email is not None else None
        if self._account is not None:
            self._keys[self._account] = ACCOUNT_TRIES

    async def begin(self) -> None:
        """Count the attempt as a failure in advance, so that attempts at the same time count too.

        Raises TooManyAttempts while a wait lasts; the transaction is then rolled back, so it does not count.
        """
        self._refuse_until(await self._rows.blocked_until(list(self._keys), self._now))
        for key, tries in sorted(self._keys.items()):
            failures, until = await self._rows.count_attempt(
                key, self._now, self._now - FORGET_AFTER, forget_one_in=FORGET_ONE_IN
            )
            self._refuse_until(until)
            wait = wait_after(failures, tries)
            if wait:
                await self._rows.block(key, self._now + wait)

    def _refuse_until(self, until: datetime | None) -> None:
        if until is not None and until > self._now:
            raise TooManyAttempts(math.ceil((until - self._now).total_seconds()))

    async def succeeded(self) -> None:
        """The account starts afresh; the network address only gets this attempt back."""
        for key in sorted(self._keys):
            await self._rows.forgive(key, whole=key == self._account)
