"""DKIM signatures (RFC 6376): rsa-sha256, relaxed/relaxed, over messages in the form that `compose` makes."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Iterable, Sequence

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

Header = tuple[bytes, bytes]
"""Name and value; the value may be folded with CRLF and a space."""

KEY_BITS = 2048
# RFC 8058 demands that both List-Unsubscribe fields are signed.
_SIGNED = frozenset(
    (
        b"from", b"reply-to", b"to", b"subject", b"date", b"message-id", b"mime-version", b"content-type",
        b"content-transfer-encoding", b"list-unsubscribe", b"list-unsubscribe-post",
    )
)  # fmt: skip
# Named once more than they occur: nobody can add a second one.
_SEALED = (b"from", b"to", b"subject", b"reply-to")
_LINE = 72


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
        self._prefix = f"v=1; a=rsa-sha256; c=relaxed/relaxed; d={self.domain}; s={selector};".encode("ascii")
        self._key = _load(private_pem)
        self._clock = clock

    def sign(self, headers: Sequence[Header], body: Iterable[bytes]) -> bytes:
        """The value of the DKIM-Signature field; the body in pieces.

        It must be canonical as it is: no space before a line end, no two in a row, exactly one CRLF at its end.
        """
        signed = [(name.lower(), value) for name, value in headers if name.lower() in _SIGNED]
        names = b":".join([*(name for name, _ in signed), *_SEALED])
        # One call: each long one gives up the GIL and has to wait for it again.
        digest = base64.b64encode(hashlib.sha256(b"".join(body)).digest())
        stamp = str(int(self._clock())).encode("ascii")
        value = b"%b t=%b;\r\n h=%b;\r\n bh=%b;\r\n b=" % (self._prefix, stamp, _folded(names, b":"), digest)
        lines = [name + b":" + b" ".join(content.split()) for name, content in signed]
        lines.append(b"dkim-signature:" + b" ".join(value.split()))
        signature = self._key.sign(b"\r\n".join(lines), padding.PKCS1v15(), hashes.SHA256())
        text = base64.b64encode(signature)
        return value + b"\r\n ".join(text[at : at + _LINE] for at in range(0, len(text), _LINE))


def _folded(names: bytes, separator: bytes) -> bytes:
    """Break the list of names where a line gets long; space is allowed there."""
    lines, line = [], b""
    for name in names.split(separator):
        if len(line) + len(name) > _LINE:
            lines.append(line)
            line = b""
        line += name + separator
    return b"\r\n ".join([*lines, line])[: -len(separator)]


def _load(private_pem: str) -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key(private_pem.encode("ascii"), password=None)
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < KEY_BITS:
        raise ValueError("a DKIM key is RSA of at least 2,048 bits")
    return key
