"""Base 64 of a text with holes. What does not change is encoded once, for each of the three places where it can begin.

Base 64 takes three bytes at a time. A fixed piece after a value of any length begins at one of three offsets of such a
group, so three encodings of it serve every recipient; only the values and a few bytes beside them are encoded anew.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Sequence
from dataclasses import dataclass

_LINE = 57
"""Bytes that give a line of 76 characters."""


@dataclass(frozen=True)
class Hole:
    """The value `index` of a recipient, or `default` where that is empty."""

    index: int
    default: bytes


def _encodings(data: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """A fixed piece by the bytes that wait before it: (bytes for their group, encoded lines, bytes left over)."""

    def encoding(head: int) -> tuple[bytes, bytes, bytes]:
        whole = (len(data) - head) // 3 * 3
        if whole <= 0:
            return data, b"", b""
        return data[:head], encoded_lines(data[head : head + whole]), data[head + whole :]

    return [encoding((3 - pending) % 3) for pending in range(3)]


def encoded_lines(data: bytes) -> bytes:
    """Base 64 in lines of at most 76 characters, each with CRLF."""
    if len(data) <= _LINE:
        return b2a_base64(data, newline=False) + b"\r\n" if data else b""
    lines = [b2a_base64(data[begin : begin + _LINE], newline=False) for begin in range(0, len(data), _LINE)]
    return b"\r\n".join(lines) + b"\r\n"


class Base64Template:
    """`render(values)` is the base 64 of the fixed pieces with the values between them."""

    def __init__(self, pieces: Sequence[bytes | Hole]) -> None:
        # Each step is a value, if any, and the fixed piece behind it, maybe an empty one.
        self._steps: list[tuple[int | None, bytes, list[tuple[bytes, bytes, bytes]]]] = []
        hole: Hole | None = None
        for piece in (*pieces, b""):
            if hole is not None or isinstance(piece, bytes):
                index, default = (hole.index, hole.default) if hole is not None else (None, b"")
                self._steps.append((index, default, _encodings(piece if isinstance(piece, bytes) else b"")))
            hole = piece if isinstance(piece, Hole) else None

    def render(self, values: Sequence[bytes]) -> bytes:
        """Lines of base 64, each with CRLF; their lengths differ, which RFC 2045 allows."""
        return b"".join(self.pieces(values))

    def pieces(self, values: Sequence[bytes]) -> list[bytes]:
        """The same in pieces."""
        out: list[bytes] = []
        pending = b""
        for index, default, by_pending in self._steps:
            if index is not None:
                pending += values[index] or default
            head, encoded, tail = by_pending[len(pending) % 3]
            pending += head
            if encoded:
                if pending:
                    out.append(encoded_lines(pending))
                out.append(encoded)
                pending = tail
        if pending:
            out.append(encoded_lines(pending))
        return out
