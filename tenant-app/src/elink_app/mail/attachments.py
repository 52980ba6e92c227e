"""Files as parts of a mail.

Names that are not ASCII stand there twice: in `Content-Disposition` as RFC 2231 says, and in `Content-Type` as encoded
words (RFC 2047), which no standard allows there, but which old Outlook and some webmail need. Thunderbird writes both,
too; readers of RFC 2231 take the file's name from `Content-Disposition` first.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from elink_app.mail.base64_parts import encoded_lines
from elink_app.mail.headers import encoded_words, one_line

_PLAIN_LENGTH = 60
# What one line of an extended parameter holds, so that lines stay within 78 characters.
_VALUE = 54


def part_headers(name: str, media_type: str) -> list[tuple[bytes, bytes]]:
    """The headers of a file's part. No name can begin another header or end its quotes."""
    text = one_line(name)
    if text.isascii() and len(text) <= _PLAIN_LENGTH and "=?" not in text:
        quoted = text.replace("\\", "\\\\").replace('"', '\\"').encode("ascii")
        word, disposition = quoted, [b'filename="' + quoted + b'"']
    else:
        word, disposition = encoded_words(text), _extended(text)
    return [
        (b"Content-Type", media_type.encode("ascii") + b';\r\n name="' + word + b'"'),
        (b"Content-Transfer-Encoding", b"base64"),
        (b"Content-Disposition", b";\r\n ".join([b"attachment", *disposition])),
    ]


def encoded_part(name: str, media_type: str, content: bytes) -> bytes:
    """A whole part with its headers, without the boundary before it."""
    lines = [header + b": " + value + b"\r\n" for header, value in part_headers(name, media_type)]
    return b"".join([*lines, b"\r\n", encoded_lines(content)])


def mixed(boundary: bytes, parts: Sequence[bytes]) -> bytes:
    """What follows the text of a mail with files: every file's part, and the end."""
    pieces = [piece for part in parts for piece in (b"--", boundary, b"\r\n", part)]
    return b"".join([*pieces, b"--", boundary, b"--\r\n"])


def _extended(text: str) -> list[bytes]:
    """The parameter `filename` of RFC 2231, in several when it is long; none is cut within a character."""
    values, value = [], "utf-8''"
    for character in text:
        encoded = quote(character, safe="", errors="replace")
        if len(value) + len(encoded) > _VALUE:
            values.append(value)
            value = ""
        value += encoded
    values.append(value)
    if len(values) == 1:
        return [b"filename*=" + values[0].encode("ascii")]
    return [f"filename*{number}*={one}".encode("ascii") for number, one in enumerate(values)]
