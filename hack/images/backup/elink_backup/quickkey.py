"""A key file of restic that opens at once. Pure.

restic stretches every password so long that guessing one is hopeless: half a second of a processor in each command. The
operator's keys are 256 random bits, which nobody guesses, stretched or not.

Source of the format: "Keys, Encryption and MAC" in restic's design document.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.poly1305 import Poly1305

_RANDOM = re.compile(r"[A-Za-z0-9_-]{43}")
_COST = {"N": 2, "r": 8, "p": 1}
"""The least that scrypt knows."""
_SALT, _NONCE, _BLOCK = 64, 16, 16


def is_random(secret: str) -> bool:
    """Whether it looks like the operator's keys, 32 random bytes in URL-safe Base64, and not thought of by a person."""
    return _RANDOM.fullmatch(secret) is not None


def opens_at_once(content: bytes) -> bool:
    """Whether this key file is such a one."""
    try:
        found = json.loads(content)
        return all(found[name] == cost for name, cost in _COST.items())
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def build_key_file(
    secret: str, master: Mapping[str, Any], now: datetime, random: Callable[[int], bytes]
) -> tuple[str, bytes]:
    """Name and content of the file that lets `secret` open the repository with the key `master`.

    `master` is what `restic cat masterkey` says; `random` gives as many random bytes as it is asked for.
    """
    salt, nonce = random(_SALT), random(_NONCE)
    derived = hashlib.scrypt(secret.encode(), salt=salt, n=_COST["N"], r=_COST["r"], p=_COST["p"], dklen=64)
    encryption, mac_key, mac_r = derived[:32], derived[32:48], derived[48:]
    sealed = _encrypt(encryption, nonce, json.dumps(master).encode())
    proof = Poly1305.generate_tag(mac_r + _encrypt(mac_key, nonce, bytes(_BLOCK)), sealed)
    content = json.dumps(
        {
            "created": now.isoformat(),
            "username": "elink",
            "hostname": "",
            "kdf": "scrypt",
            **_COST,
            "salt": base64.b64encode(salt).decode(),
            "data": base64.b64encode(nonce + sealed + proof).decode(),
        }
    ).encode()
    return hashlib.sha256(content).hexdigest(), content


def _encrypt(key: bytes, nonce: bytes, text: bytes) -> bytes:
    return Cipher(AES(key), CTR(nonce)).encryptor().update(text)
