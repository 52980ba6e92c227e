"""DKIM signatures (RFC 6376): rsa-sha256, relaxed/relaxed, over messages in the form that `compose` makes."""

from __future__ import annotations

import base64
import hashlib
import time
from binascii import b2a_base64
from collections.abc import Callable, Sequence
from functools import lru_cache

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from elink_app.mail.head import Head, relaxed

KEY_BITS = 2048
# Named once more than they occur: nobody can add a second one.
_SEALED = (b"from", b"to", b"subject", b"reply-to")
_LINE = 72
_PADDING, _SHA256 = padding.PKCS1v15(), hashes.SHA256()
_SHORT, _LONG = 2047, 1 << 16


def new_private_pem() -> str:
    """A new key of 2,048 bits as PKCS #8; takes about a tenth of a second."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode("ascii")


def dns_record(private_pem: str) -> str:
    """The text of the TXT record at `<selector>._domainkey.<domain>`; DNS needs it in strings of at most 255 bytes."""
    public = _load(private_pem).public_key()
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; k=rsa; p={base64.b64encode(der).decode('ascii')}"


class Signer:
    """Signs for one domain. `sign` may be called from several threads at once. Raises ValueError for an unfit key."""

    def __init__(self, domain: str, selector: str, private_pem: str, clock: Callable[[], float] = time.time) -> None:
        self.domain = domain.lower()
        self._start = f"v=1; a=rsa-sha256; c=relaxed/relaxed; d={self.domain}; s={selector}; t=".encode("ascii")
        self._key = _load(private_pem)
        self._clock = clock

    def sign(self, head: Head, values: tuple[bytes, ...], body: Sequence[bytes]) -> bytes:
        """The value of the DKIM-Signature field, over the body in pieces and every field of `head`.

        RFC 8058 demands that both List-Unsubscribe fields are signed.
        The body must be canonical as it is: no space before a line end, no two in a row, exactly one CRLF at its end.
        """
        digest = b2a_base64(_hash(body), newline=False)
        value = b"%b%d;\r\n h=%b;\r\n bh=%b;\r\n b=" % (self._start, self._clock(), _folded(head.names), digest)
        signed = head.canonical(values) + b"dkim-signature:" + relaxed(value)
        text = b2a_base64(self._key.sign(signed, _PADDING, _SHA256), newline=False)
        return value + b"\r\n ".join([text[at : at + _LINE] for at in range(0, len(text), _LINE)])


def _hash(body: Sequence[bytes]) -> bytes:
    # From 2,048 bytes on a call gives up the GIL: for a file that is right, but to have it back for a text takes longer
    # than to hash the text.
    hashed = hashlib.sha256()
    for piece in body:
        if _SHORT < len(piece) < _LONG:
            view = memoryview(piece)
            for at in range(0, len(piece), _SHORT):
                hashed.update(view[at : at + _SHORT])
        else:
            hashed.update(piece)
    return hashed.digest()


@lru_cache(maxsize=64)
def _folded(names: tuple[bytes, ...]) -> bytes:
    """The list of what is signed, broken where a line gets long; space is allowed there."""
    lines, line = [], b""
    for name in (*names, *_SEALED):
        if len(line) + len(name) > _LINE:
            lines.append(line)
            line = b""
        line += name + b":"
    return b"\r\n ".join([*lines, line])[:-1]


def _load(private_pem: str) -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key(private_pem.encode("ascii"), password=None)
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < KEY_BITS:
        raise ValueError("a DKIM key is RSA of at least 2,048 bits")
    return key
