"""Codes of a phone (RFC 6238: SHA-1, six digits, 30 seconds, what the apps understand) and recovery codes. Pure."""

from __future__ import annotations

import hashlib
import hmac
import io
import secrets
from datetime import datetime, timedelta

import pyotp
import segno

_PERIOD = 30
_WINDOW = 1
_CODES = 10
# Without letters and digits that are mistaken for each other.
_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"


def new_secret() -> str:
    """A secret of 160 bits, base32."""
    return pyotp.random_base32(32)


def step_of(secret: str, code: str, now: datetime) -> int | None:
    """The number of the 30-second step that `code` belongs to, one step early or late allowed; None when wrong."""
    digits = "".join(code.split())
    if len(digits) != 6 or not (digits.isascii() and digits.isdigit()):
        return None
    generator = pyotp.TOTP(secret, interval=_PERIOD)
    for offset in range(-_WINDOW, _WINDOW + 1):
        moment = now + timedelta(seconds=offset * _PERIOD)
        if hmac.compare_digest(generator.at(moment), digits):
            return int(moment.timestamp()) // _PERIOD
    return None


def address(secret: str, email: str, issuer: str) -> str:
    """The otpauth address for the QR code."""
    return pyotp.TOTP(secret, interval=_PERIOD).provisioning_uri(name=email, issuer_name=issuer)


def picture(text: str) -> bytes:
    """The QR code as PNG: dark on white in either colour scheme, or cameras do not read it."""
    out = io.BytesIO()
    segno.make(text, error="m").save(out, kind="png", scale=5, border=4)
    return out.getvalue()


def new_recovery_codes() -> list[str]:
    """Ten codes of 49 bits, like `abcd3-efgh4`."""
    return ["-".join("".join(secrets.choice(_ALPHABET) for _ in range(5)) for _ in range(2)) for _ in range(_CODES)]


def hash_recovery(account_id: int, code: str) -> bytes:
    """What is kept of a recovery code; case, spaces and hyphens make no difference."""
    plain = "".join(c for c in code.casefold() if c not in " -\t")
    return hashlib.sha256(f"{account_id}:{plain[:64]}".encode()).digest()
