"""Text of SQL where PostgreSQL takes no parameters (DDL): quoting, and passwords that never travel in the clear."""

from __future__ import annotations

import base64
import hashlib
import hmac

_ROUNDS = 4096


def ident(name: str) -> str:
    """A quoted identifier. `ValueError` for what cannot be one: empty, longer than 63 bytes, or with NUL."""
    if not name or "\0" in name or len(name.encode()) > 63:
        raise ValueError(f"not a PostgreSQL name: {name!r}")
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A quoted string; standard_conforming_strings is on for every session here. `ValueError` for NUL."""
    if "\0" in text:
        raise ValueError("text with NUL")
    return "'" + text.replace("'", "''") + "'"


def scram_verifier(password: str, salt: bytes) -> str:
    """What PostgreSQL stores of a password (RFC 5802, RFC 7677): the server, and so its log, never sees the password.

    `password` must be ASCII, so that SASLprep changes nothing.
    """
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, _ROUNDS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")

    def text(raw: bytes) -> str:
        return base64.b64encode(raw).decode()

    return f"SCRAM-SHA-256${_ROUNDS}:{text(salt)}${text(stored_key)}:{text(server_key)}"


def lock_key(*parts: str) -> int:
    """The key of an advisory lock: a signed 64-bit number out of a name."""
    raw = hashlib.sha256("\0".join(parts).encode()).digest()[:8]
    return int.from_bytes(raw, "big", signed=True)
