"""`{{項目|既定値}}`: a field of the address, and what stands there when the field is empty. Nothing is executed.

The grammar knows nothing else: no conditions, no functions, no attributes. Whatever is no placeholder is text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

# Filled by the system for each recipient, never from the address book.
UNSUBSCRIBE_FIELD = "配信停止URL"

_OPEN, _CLOSE = "{{", "}}"
_NAME_LENGTH = 60
_DEFAULT_LENGTH = 200


@dataclass(frozen=True)
class Placeholder:
    """`name` is NFKC without outer spaces, so that ＩＤ and ID are one field; `default` may be empty."""

    name: str
    default: str = ""


class PlaceholderError(ValueError):
    """Wrong at `position` (characters from the start). `code`: unclosed, empty, too_long, line_break, brace."""

    def __init__(self, code: str, position: int, excerpt: str) -> None:
        super().__init__(code)
        self.code = code
        self.position = position
        self.excerpt = excerpt


def parse(source: str) -> list[str | Placeholder]:
    """Text and placeholders in turn, empty texts left out. Raises PlaceholderError at the first mistake."""
    parts: list[str | Placeholder] = []
    position = 0
    while (begin := source.find(_OPEN, position)) >= 0:
        end = source.find(_CLOSE, begin)
        if end < 0:
            raise PlaceholderError("unclosed", begin, source[begin : begin + 40])
        if begin > position:
            parts.append(source[position:begin])
        parts.append(_placeholder(source[begin + 2 : end], begin))
        position = end + 2
    if position < len(source):
        parts.append(source[position:])
    return parts


def field_names(sources: Iterable[str]) -> list[str]:
    """The fields that the sources use, each once, in order of appearance."""
    found = (part.name for source in sources for part in parse(source) if isinstance(part, Placeholder))
    return list(dict.fromkeys(found))


def _placeholder(inside: str, position: int) -> Placeholder:
    def wrong(code: str) -> PlaceholderError:
        return PlaceholderError(code, position, _OPEN + inside[:40])

    raw_name, _, default = inside.partition("|")
    name = unicodedata.normalize("NFKC", raw_name).strip()
    if any(character in inside for character in "\r\n\x00"):
        raise wrong("line_break")
    if "{" in inside or "}" in inside:
        raise wrong("brace")
    if not name:
        raise wrong("empty")
    if len(name) > _NAME_LENGTH or len(default) > _DEFAULT_LENGTH:
        raise wrong("too_long")
    return Placeholder(name, default)
