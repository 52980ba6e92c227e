"""Which keys need no stretching, and which key files say so; that restic opens them is in test_backup."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime

import pytest
from elink_backup.quickkey import build_key_file, is_random, opens_at_once

MASTER = {"mac": {"k": "QUJD", "r": "REVG"}, "encrypt": "R0hJ"}


def test_the_operators_keys_are_random() -> None:
    assert all(is_random(secrets.token_urlsafe(32)) for _ in range(100))


@pytest.mark.parametrize(
    "secret", ["", "a-tenant-key", "x" * 42, "x" * 44, "correct horse battery staple, and so on.", "x" * 42 + "\n"]
)
def test_what_does_not_look_like_one_is_stretched(secret: str) -> None:
    assert not is_random(secret)


def test_a_key_file_is_named_by_its_content_and_holds_no_secret() -> None:
    secret, moment = secrets.token_urlsafe(32), datetime(2026, 11, 29, tzinfo=UTC)
    name, content = build_key_file(secret, MASTER, moment, secrets.token_bytes)
    assert name == hashlib.sha256(content).hexdigest()
    assert opens_at_once(content)
    for hidden in (secret, "QUJD", "REVG", "R0hJ"):
        assert hidden.encode() not in content
    assert build_key_file(secret, MASTER, moment, secrets.token_bytes)[0] != name, "salt and nonce are used once"


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[]", b"3", b"{}", b'{"N": 32768, "r": 8, "p": 5}', b'{"N": "2", "r": 8, "p": 1}', b"[" * 100_000],
)
def test_any_other_file_does_not_open_at_once(content: bytes) -> None:
    assert not opens_at_once(content)
