"""The arithmetic of the chain: what is hashed, and in which form. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import orjson

from elink_app.numbers import number_text

ORIGIN = bytes(32)
"""The hash before the first line."""
_MAX_TEXT = 2000
# A mistake in a caller must not put a secret where it can never be removed.
_NEVER = ("password", "secret", "token", "body", "cookie")


def plain(value: Any) -> Any:
    """The value as JSON that comes back from `jsonb` as it went in: no floats, no dates, no long texts, no NUL."""
    match value:
        case Enum():
            return plain(value.value)
        case None | bool() | int():
            return value
        case str():
            return value.replace("\0", "\N{SYMBOL FOR NULL}")[:_MAX_TEXT]
        case float():
            return number_text(value)
        case Decimal():
            return str(value)
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="microseconds")
        case date():
            return value.isoformat()
        case Mapping():
            return {str(key): plain(inner) for key, inner in value.items()}
        case Sequence() | set() | frozenset():
            return [plain(inner) for inner in (sorted(value) if isinstance(value, set | frozenset) else value)]
    raise TypeError(f"{type(value).__name__} has no place in the audit log")


def refuse_secrets(values: Mapping[str, Any] | None) -> None:
    """ValueError when a key names what must never be written here."""
    for key in values or ():
        if any(word in key.lower() for word in _NEVER):
            raise ValueError(f"{key} must not be written to the audit log")


def link(before: bytes, number: int, at: datetime, fields: Sequence[Any]) -> bytes:
    """The hash of one line: SHA-256 over the hash before it and its canonical JSON (sorted keys, UTC, microseconds)."""
    moment = at.astimezone(UTC).isoformat(timespec="microseconds")
    line = orjson.dumps([number, moment, *fields], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(before + line).digest()
