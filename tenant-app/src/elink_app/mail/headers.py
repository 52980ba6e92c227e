"""Header values as RFC 5322 and RFC 2047 want them. No value can begin another header."""

from __future__ import annotations

import re
from binascii import b2a_base64

from elink_app.mail.address import mailbox

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_PLAIN_LENGTH = 65
# With `Subject: ` before it, the first line stays within the 76 characters of RFC 2047; 3 bytes give 4 characters.
_FIRST_WORD, _WORD = 39, 45


def one_line(value: str) -> str:
    """The value without control characters; a run of them, line breaks too, becomes a space."""
    if value.isprintable():
        return value.strip()
    return _CONTROL.sub(" ", value).strip()


def unstructured(value: str) -> bytes:
    """A value of free text (Subject): as it is when short ASCII, otherwise in encoded words, folded."""
    text = one_line(value)
    if text.isascii() and len(text) <= _PLAIN_LENGTH and "=?" not in text:
        return text.encode("ascii")
    return encoded_words(text)


def encoded_words(text: str) -> bytes:
    """RFC 2047 words of UTF-8 in base 64, cut between characters, one on a line."""
    raw = text.encode("utf-8", "replace")
    words = []
    begin, room = 0, _FIRST_WORD
    while begin < len(raw):
        end = min(begin + room, len(raw))
        while end < len(raw) and raw[end] & 0xC0 == 0x80:
            end -= 1
        words.append(b"=?utf-8?B?" + b2a_base64(raw[begin:end], newline=False) + b"?=")
        begin, room = end, _WORD
    return b"\r\n ".join(words)


def named_mailbox(name: str, address: str) -> bytes:
    """`name <address>`; the name quoted or encoded. Raises BadMailbox."""
    plain = mailbox(address).encode("ascii")
    text = one_line(name)
    if not text:
        return plain
    if text.isascii() and len(text) <= _PLAIN_LENGTH and "=?" not in text:
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{quoted}" <'.encode("ascii") + plain + b">"
    return encoded_words(text) + b"\r\n <" + plain + b">"
