"""Passwords: what is accepted, and argon2id hashing that never takes the whole machine."""

from __future__ import annotations

import asyncio
import unicodedata
from functools import cache
from importlib import resources
from itertools import pairwise

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

MIN_LENGTH = 12
MAX_LENGTH = 256

# OWASP's second recommendation for argon2id, with one more pass: about 40 ms and 19 MiB for each check.
_HASHER = PasswordHash((Argon2Hasher(memory_cost=19 * 1024, time_cost=3, parallelism=1),))
_AT_ONCE = 4


@cache
def _common() -> frozenset[str]:
    text = resources.files("elink_app.accounts").joinpath("common_passwords.txt").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def normalise_password(password: str) -> str:
    """NFKC, so that a full-width letter or another way to compose it is the same password on every keyboard."""
    return unicodedata.normalize("NFKC", password)


def weakness(password: str, *known: str) -> str | None:
    """None when the password is accepted, else an error code. `known` are words tied to the account (its e-mail)."""
    plain = normalise_password(password)
    if len(plain) < MIN_LENGTH:
        return "password_short"
    if len(plain) > MAX_LENGTH:
        return "string_too_long"
    folded = plain.casefold()
    words = {word.casefold() for name in known for word in (name, name.partition("@")[0]) if len(word) >= 4}
    if folded in _common() or folded in words or _is_monotonous(folded):
        return "password_common"
    if any(folded.strip("0123456789!?._-") == word for word in words | _common()):
        return "password_common"
    return None


def _is_monotonous(text: str) -> bool:
    if len(set(text)) < 5:
        return True
    for size in range(1, len(text) // 2 + 1):
        if (text[:size] * (len(text) // size + 1))[: len(text)] == text and len(set(text[:size])) < 8:
            return True
    steps = {ord(b) - ord(a) for a, b in pairwise(text)}
    return steps in ({1}, {-1})


class Passwords:
    """Hashes and checks in threads, a few at a time: memory stays bounded under a flood of log-ins."""

    def __init__(self) -> None:
        self._gate = asyncio.Semaphore(_AT_ONCE)
        # A check against it costs the same as one against a real account's hash.
        self._nobody = _HASHER.hash("nobody has this password")

    async def hash(self, password: str) -> str:
        """The argon2id string to store."""
        async with self._gate:
            return await asyncio.to_thread(_HASHER.hash, normalise_password(password))

    async def check(self, password: str, stored: str | None) -> tuple[bool, str | None]:
        """(right?, new hash to store when the stored one is outdated). `stored` None = unknown account, never right."""
        candidate = normalise_password(password[: MAX_LENGTH * 4])
        async with self._gate:
            right, renewed = await asyncio.to_thread(_HASHER.verify_and_update, candidate, stored or self._nobody)
        return (right and stored is not None, renewed if right and stored is not None else None)
