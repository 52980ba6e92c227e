"""Which passwords are accepted, and hashing."""

from __future__ import annotations

import pytest
from elink_app.accounts.passwords import Passwords, weakness
from elink_app.accounts.throttle import (
    ACCOUNT_TRIES,
    FIRST_WAIT,
    LONGEST_WAIT,
    account_key,
    address_key,
    wait_after,
)


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("short", "password_short"),
        ("elevenchars", "password_short"),
        ("x1y2z3" * 60, "string_too_long"),
        ("Password1234", "password_common"),
        ("PASSWORD!!!!!!", "password_common"),
        ("ｐａｓｓｗｏｒｄ１２３４", "password_common"),
        ("123456789012", "password_common"),
        ("abcdefghijklm", "password_common"),
        ("zyxwvutsrqpon", "password_common"),
        ("qwertyuiopasdf", "password_common"),
        ("aaaaaaaaaaaaaaaa", "password_common"),
        ("abcabcabcabcabc", "password_common"),
        ("master@acme.example", "password_common"),
        ("acme-master-2026", "password_common"),
        ("correct horse battery", None),
        ("いろはにほへとちりぬるを", None),
        ("x9#Kq2!mZp7w", None),
    ],
)
def test_weakness(password: str, code: str | None) -> None:
    assert weakness(password, "acme-master@acme.example", "master@acme.example") == code


async def test_hash_and_check() -> None:
    passwords = Passwords()
    stored = await passwords.hash("ｃｏｒｒｅｃｔ horse")
    assert stored.startswith("$argon2id$v=19$m=19456,t=3,p=1$")
    assert await passwords.hash("ｃｏｒｒｅｃｔ horse") != stored
    # Full-width letters are the same password on another keyboard.
    assert await passwords.check("correct horse", stored) == (True, None)
    assert await passwords.check("Correct horse", stored) == (False, None)
    assert await passwords.check("nobody has this password", None) == (False, None)


async def test_an_old_hash_is_renewed() -> None:
    from pwdlib.hashers.argon2 import Argon2Hasher

    weak = Argon2Hasher(memory_cost=1024, time_cost=1, parallelism=1).hash("correct horse")
    right, renewed = await Passwords().check("correct horse", weak)
    assert right
    assert renewed is not None
    assert "m=19456" in renewed


def test_waits_grow_and_are_bounded() -> None:
    waits = [wait_after(n, ACCOUNT_TRIES) for n in range(40)]
    assert not any(waits[:ACCOUNT_TRIES])
    assert waits[ACCOUNT_TRIES] == FIRST_WAIT
    assert waits[ACCOUNT_TRIES + 1] == 2 * FIRST_WAIT
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_WAIT


def test_throttle_keys() -> None:
    assert account_key(" A@b.jp") == account_key("a@B.jp")
    assert "a@b.jp" not in account_key("a@b.jp")
    assert address_key("2001:db8:1:2:3::1") == address_key("2001:db8:1:2:ffff::9")
    assert address_key("2001:db8:1:2::1") != address_key("2001:db8:1:3::1")
    assert address_key("192.0.2.1") != address_key("192.0.2.2")
    assert address_key("<script>") == "n:unknown"
    assert len(account_key("x" * 5000)) <= 80
