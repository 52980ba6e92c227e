"""The header of mails that differ in a few values: put together once, then filled in for each mail.

Also in the form that DKIM signs (relaxed, RFC 6376, 3.4.2), so that a mail's header is taken apart for no signature.
"""

from __future__ import annotations

from collections.abc import Sequence

Header = tuple[bytes, bytes | None]
"""Name and value, which may be folded with CRLF and a space. None: each mail has its own."""


class Head:
    """`fields` in their order. The values of `filled` and `canonical` are those of the fields without one."""

    def __init__(self, fields: Sequence[Header]) -> None:
        self.names = tuple(name.lower() for name, _ in fields)
        self._lines = b"".join(name + b": " + _fixed(value) + b"\r\n" for name, value in fields)
        self._canonical = b"".join(
            name.lower() + b":" + _fixed(relaxed(value) if value is not None else None) + b"\r\n"
            for name, value in fields
        )

    def filled(self, values: tuple[bytes, ...]) -> bytes:
        """The lines of the header, each with its CRLF; no empty line."""
        return self._lines % values

    def canonical(self, values: tuple[bytes, ...]) -> bytes:
        """The same in relaxed form."""
        return self._canonical % tuple([relaxed(value) for value in values])


def relaxed(value: bytes) -> bytes:
    """A header's value in relaxed form: unfolded, one space where there was any."""
    return b" ".join(value.split())


def _fixed(value: bytes | None) -> bytes:
    return b"%b" if value is None else value.replace(b"%", b"%%")
