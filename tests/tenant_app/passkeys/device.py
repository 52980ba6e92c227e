"""A device that holds passkeys, in software: it makes and signs what a browser would bring back."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import secrets
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

USER_PRESENT, USER_VERIFIED, KEY_ATTACHED = 0x01, 0x04, 0x40


def encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def decoded(value: str) -> bytes:
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))


def options_of(page: str) -> dict[str, Any]:
    """What the server asks for, as its page says it."""
    found = re.search(r'data-options="([^"]*)"', page)
    assert found, page
    options: dict[str, Any] = json.loads(html.unescape(found[1]))
    return options


@dataclass
class Device:
    """One passkey; `counts` False: a device that keeps no counter. What a test changes is what goes wrong."""

    host: str
    counts: bool = True
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    handle: bytes = b""
    counter: int = 0
    flags: int = USER_PRESENT | USER_VERIFIED
    origin: str = ""

    def _client_data(self, kind: str, challenge: str, **more: object) -> bytes:
        origin = self.origin or f"https://{self.host}"
        return json.dumps({"type": kind, "challenge": challenge, "origin": origin, **more}).encode()

    def _data(self, rp_id: str, flags: int) -> bytes:
        self.counter += self.counts
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + self.counter.to_bytes(4, "big")

    def make(self, options: dict[str, Any]) -> str:
        """The answer to `navigator.credentials.create`."""
        self.handle = decoded(options["user"]["id"])
        numbers = self.key.public_key().public_numbers()
        x, y = numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big")
        public = cbor2.dumps({1: 2, 3: -7, -1: 1, -2: x, -3: y})
        attached = bytes(16) + len(self.credential_id).to_bytes(2, "big") + self.credential_id + public
        data = self._data(self.host, self.flags | KEY_ATTACHED) + attached
        response = {
            "clientDataJSON": encoded(self._client_data("webauthn.create", options["challenge"])),
            "attestationObject": encoded(cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})),
            "transports": ["internal", "carrier-pigeon"],
        }
        return json.dumps(self._credential(response))

    def use(self, options: dict[str, Any], **more: object) -> str:
        """The answer to `navigator.credentials.get`; `more` goes into what the browser says."""
        data = self._data(self.host, self.flags)
        said = self._client_data("webauthn.get", options["challenge"], **more)
        signature = self.key.sign(data + hashlib.sha256(said).digest(), ec.ECDSA(hashes.SHA256()))
        response = {
            "clientDataJSON": encoded(said),
            "authenticatorData": encoded(data),
            "signature": encoded(signature),
            "userHandle": encoded(self.handle) if self.handle else None,
        }
        return json.dumps(self._credential(response))

    def _credential(self, response: dict[str, Any]) -> dict[str, Any]:
        name = encoded(self.credential_id)
        return {"id": name, "rawId": name, "type": "public-key", "response": response}
