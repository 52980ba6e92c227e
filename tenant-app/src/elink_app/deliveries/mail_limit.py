"""Holds test mails back: they go to addresses that nobody has consented for, and their words are the sender's."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.repository import ThrottleRepository
from elink_app.accounts.throttle import address_key
from elink_app.audit.service import Actor
from elink_app.deliveries.errors import TooManyTestMails

PER_ACCOUNT = 20
PER_ADDRESS = 60
PAUSE = timedelta(hours=1)


async def count_test_mail(db: AsyncSession, actor: Actor, now: datetime) -> None:
    """Count one sending per account and per network address; an hour's pause starts both afresh.

    Raises TooManyTestMails; the transaction is then rolled back, so the refused one does not count.
    """
    rows = ThrottleRepository(db)
    keys = {f"test:{actor.account_id}": PER_ACCOUNT, f"test:{address_key(actor.address)}": PER_ADDRESS}
    for key, most in sorted(keys.items()):
        sendings, _ = await rows.count_attempt(key, now, now - PAUSE)
        if sendings > most:
            raise TooManyTestMails
