"""A form that is sent twice (a button pressed twice, back and send again) makes one thing."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterable

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.clock import Clock
from elink_app.sentforms.repository import SentFormRepository

# Of each account; a second press comes soon after the first.
_KEPT = 50
_KEY_BYTES = 16
_KEY = re.compile(r"[A-Za-z0-9_-]{22}\Z")


def new_form_key() -> str:
    """What tells a form from the same form opened again."""
    return secrets.token_urlsafe(_KEY_BYTES)


def form_sha256(key: str, path: str, fields: Iterable[tuple[str, str]]) -> bytes | None:
    """The form as it was sent to `path`; None without a key of ours: then it counts each time.

    What was typed is a part of it: whoever goes back and types something else means another thing.
    """
    if not _KEY.match(key):
        return None
    return hashlib.sha256(json.dumps([key, path, list(fields)]).encode()).digest()


class SentForms:
    """The forms of one account within one transaction, that of what they make."""

    def __init__(self, db: AsyncSession, account_id: int, clock: Clock) -> None:
        self._rows = SentFormRepository(db)
        self._account_id = account_id
        self._clock = clock

    async def led_to(self, form: bytes) -> str | None:
        """Where the form led when it was sent before. One that is under way in another request is waited for."""
        await self._rows.lock(self._account_id)
        return await self._rows.led_to(self._account_id, form)

    async def remember(self, form: bytes, led_to: str) -> None:
        """The form has made what it is for; ask `led_to` first."""
        await self._rows.push(self._account_id, form, led_to, self._clock(), _KEPT)
