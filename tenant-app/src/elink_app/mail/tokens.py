"""Tokens that name one recipient of one delivery and cannot be made without the tenant's secret.

25 bytes in hexadecimal (50 characters): mail systems may change the case of a local part. A counted link's token has
two bytes more, for the number of the link.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

_DELIVERY_BYTES, _RECIPIENT_BYTES, _TENANT_BYTES, _LINK_BYTES = 5, 6, 4, 2
_IDS = _DELIVERY_BYTES + _RECIPIENT_BYTES
_TOKEN_LENGTH = 50
_CLICK_LENGTH = _TOKEN_LENGTH + 2 * _LINK_BYTES
_MAC = 14
_BLOCK = 64
_BOUNCE_PREFIX = "b-"
_HEX = re.compile(r"[0-9a-f]+\Z")


@dataclass(frozen=True, slots=True)
class RecipientIds:
    """One row of `delivery_recipient`."""

    delivery_id: int
    recipient_id: int


@dataclass(frozen=True, slots=True)
class ClickIds:
    """One counted link in one recipient's mail."""

    delivery_id: int
    recipient_id: int
    number: int


class DeliveryTokens:
    """The tokens of one delivery's recipients. What they share is hashed once."""

    def __init__(self, secret: bytes, mark: bytes, delivery_id: int, frozen: str) -> None:
        delivery = delivery_id.to_bytes(_DELIVERY_BYTES, "big")
        self._mark_and_delivery, self._delivery = (mark + delivery).hex(), delivery.hex()
        self._unsubscribe = _Hmac(secret, b"unsubscribe\0" + delivery)
        self._bounce = _Hmac(secret, b"bounce\0" + mark + delivery)
        self._message = _Hmac(secret, b"message-id\0" + delivery)
        self._number, self._frozen = delivery_id, frozen.encode()

    def unsubscribe(self, recipient_id: int) -> str:
        """The token of an unsubscribe link: ids and 112 bits of HMAC."""
        packed = recipient_id.to_bytes(_RECIPIENT_BYTES, "big")
        return self._delivery + (packed + self._unsubscribe.digest(packed)[:_MAC]).hex()

    def bounce(self, recipient_id: int) -> str:
        """The local part of the envelope sender (VERP): `b-` and a token with the tenant's mark and 80 bits of HMAC."""
        packed = recipient_id.to_bytes(_RECIPIENT_BYTES, "big")
        return _BOUNCE_PREFIX + self._mark_and_delivery + (packed + self._bounce.digest(packed)[:10]).hex()

    def message_id(self, recipient_id: int) -> str:
        """What stands before the @ of a Message-ID, the same at every attempt.

        `frozen` keeps it apart from a namesake after a restored backup.
        """
        packed = recipient_id.to_bytes(_RECIPIENT_BYTES, "big") + self._frozen
        return f"{self._number}.{recipient_id}.{self._message.digest(packed)[:12].hex()}"


class ClickTokens:
    """The tokens of one delivery's counted links.

    Another tenant, a restored copy under another name, another host and a namesake of the delivery (`frozen`) make
    others.
    """

    def __init__(self, secret: bytes, uid: str, host: str, delivery_id: int, frozen: str) -> None:
        self._delivery = delivery_id.to_bytes(_DELIVERY_BYTES, "big")
        scope = hashlib.sha256("\0".join((uid, host, frozen)).encode()).digest()
        self._click = _Hmac(secret, b"click\0" + scope + self._delivery)

    def token(self, recipient_id: int, number: int) -> str:
        """The ids and 112 bits of HMAC."""
        packed = recipient_id.to_bytes(_RECIPIENT_BYTES, "big") + number.to_bytes(_LINK_BYTES, "big")
        return (self._delivery + packed + self._click.digest(packed)[:_MAC]).hex()


def click_ids(token: str) -> ClickIds | None:
    """What a token says of itself; None when it cannot be one of ours. Proves nothing: `ClickTokens.token` does."""
    raw = _decode(token, _CLICK_LENGTH)
    if raw is None:
        return None
    ids = _unpack(raw[:_IDS])
    return ClickIds(ids.delivery_id, ids.recipient_id, int.from_bytes(raw[_IDS : _IDS + _LINK_BYTES], "big"))


def read_unsubscribe_token(secret: bytes, token: str) -> RecipientIds | None:
    """The recipient that the token names; None when this tenant did not make it."""
    raw = _decode(token)
    if raw is None or not hmac.compare_digest(raw[_IDS:], _mac(secret, b"unsubscribe", raw[:_IDS], _MAC)):
        return None
    return _unpack(raw[:_IDS])


def tenant_mark(uid: str) -> bytes:
    """Four bytes by which a bounce finds its tenant; not secret, not unique: the HMAC decides."""
    return hashlib.sha256(uid.encode()).digest()[:_TENANT_BYTES]


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


class _Hmac:
    """HMAC-SHA256 of messages that begin alike. The library's own takes its key in anew for each."""

    def __init__(self, key: bytes, beginning: bytes) -> None:
        padded = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded) + beginning)
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))

    def digest(self, rest: bytes) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(rest)
        outer.update(inner.digest())
        return outer.digest()


def _mac(secret: bytes, purpose: bytes, packed: bytes, size: int) -> bytes:
    return hmac.digest(secret, purpose + b"\0" + packed, "sha256")[:size]


def _unpack(packed: bytes) -> RecipientIds:
    return RecipientIds(
        int.from_bytes(packed[:_DELIVERY_BYTES], "big"), int.from_bytes(packed[_DELIVERY_BYTES:], "big")
    )


def _decode(token: str, length: int = _TOKEN_LENGTH) -> bytes | None:
    if len(token) != length or not _HEX.match(token):
        return None
    return bytes.fromhex(token)
