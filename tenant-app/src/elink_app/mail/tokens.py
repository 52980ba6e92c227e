"""Tokens that name one recipient of one delivery and cannot be made without the tenant's secret.

25 bytes in hexadecimal (50 characters): mail systems may change the case of a local part.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

_DELIVERY_BYTES, _RECIPIENT_BYTES, _TENANT_BYTES = 5, 6, 4
_IDS = _DELIVERY_BYTES + _RECIPIENT_BYTES
_TOKEN_LENGTH = 50
_BOUNCE_PREFIX = "b-"
_HEX = re.compile(r"[0-9a-f]+\Z")


@dataclass(frozen=True, slots=True)
class RecipientIds:
    """One row of `delivery_recipient`."""

    delivery_id: int
    recipient_id: int


def unsubscribe_token(secret: bytes, ids: RecipientIds) -> str:
    """The token of an unsubscribe link: ids and 112 bits of HMAC."""
    packed = _pack(ids)
    return (packed + _mac(secret, b"unsubscribe", packed, 14)).hex()


def read_unsubscribe_token(secret: bytes, token: str) -> RecipientIds | None:
    """The recipient that the token names; None when this tenant did not make it."""
    raw = _decode(token)
    if raw is None or not hmac.compare_digest(raw[_IDS:], _mac(secret, b"unsubscribe", raw[:_IDS], 14)):
        return None
    return _unpack(raw[:_IDS])


def tenant_mark(uid: str) -> bytes:
    """Four bytes by which a bounce finds its tenant; not secret, not unique: the HMAC decides."""
    return hashlib.sha256(uid.encode()).digest()[:_TENANT_BYTES]


def bounce_local_part(secret: bytes, mark: bytes, ids: RecipientIds) -> str:
    """The local part of the envelope sender (VERP): `b-` and a token with the tenant's mark and 80 bits of HMAC."""
    packed = mark + _pack(ids)
    return _BOUNCE_PREFIX + (packed + _mac(secret, b"bounce", packed, 10)).hex()


def bounce_mark(local_part: str) -> bytes | None:
    """The tenant's mark in a bounce address; None when it cannot be one of ours. Proves nothing."""
    raw = _decode(local_part.lower().removeprefix(_BOUNCE_PREFIX))
    return raw[:_TENANT_BYTES] if raw is not None and local_part.lower().startswith(_BOUNCE_PREFIX) else None


def read_bounce(secret: bytes, local_part: str) -> RecipientIds | None:
    """The recipient that a bounce address names; None when this tenant did not make it."""
    if bounce_mark(local_part) is None:
        return None
    raw = _decode(local_part.lower().removeprefix(_BOUNCE_PREFIX)) or b""
    end = _TENANT_BYTES + _IDS
    if not hmac.compare_digest(raw[end:], _mac(secret, b"bounce", raw[:end], 10)):
        return None
    return _unpack(raw[_TENANT_BYTES:end])


def message_id(secret: bytes, ids: RecipientIds, frozen: str, domain: str) -> str:
    """The Message-ID, the same at every attempt; `frozen` keeps it apart from a namesake after a restored backup."""
    unique = _mac(secret, b"message-id", _pack(ids) + frozen.encode(), 12).hex()
    return f"<{ids.delivery_id}.{ids.recipient_id}.{unique}@{domain}>"


def _mac(secret: bytes, purpose: bytes, packed: bytes, size: int) -> bytes:
    return hmac.digest(secret, purpose + b"\0" + packed, "sha256")[:size]


def _pack(ids: RecipientIds) -> bytes:
    return ids.delivery_id.to_bytes(_DELIVERY_BYTES, "big") + ids.recipient_id.to_bytes(_RECIPIENT_BYTES, "big")


def _unpack(packed: bytes) -> RecipientIds:
    return RecipientIds(
        int.from_bytes(packed[:_DELIVERY_BYTES], "big"), int.from_bytes(packed[_DELIVERY_BYTES:], "big")
    )


def _decode(token: str) -> bytes | None:
    if len(token) != _TOKEN_LENGTH or not _HEX.match(token):
        return None
    return bytes.fromhex(token)
