"""Replies of an SMTP server, read strictly and within bounds (RFC 5321, section 4.2)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

_LINE_LIMIT = 2048
_LINES_LIMIT = 128
_TEXT_LIMIT = 500
_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?\Z", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")

_LOG_IN = frozenset({530, 534, 535, 538})
# Many relays (Postfix by default) judge the client and the sender no earlier than at RCPT, once for each recipient.
_SENDER = re.compile(
    r"\b5\.1\.[78]\b|relay access denied|relay(ing)? (denied|not permitted)|(sender address|client host) rejected",
    re.IGNORECASE,
)
# Of the message for this system (RFC 3463); 5.2.3, of one mailbox, is the recipient's own.
_TOO_LARGE = re.compile(r"\b5\.3\.4\b")
_ENHANCED = re.compile(r"\b5\.[0-9]{1,3}\.[0-9]{1,3}\b")
_SIZE = re.compile(r"\b(size|large|big)\b", re.IGNORECASE)


class ProtocolError(Exception):
    """What came is no SMTP; nothing after it can be trusted."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply. `lines` are its texts as bytes."""

    code: int
    lines: tuple[bytes, ...]

    @property
    def positive(self) -> bool:
        """2xx."""
        return 200 <= self.code < 300

    @property
    def transient(self) -> bool:
        """4xx."""
        return 400 <= self.code < 500

    @property
    def permanent(self) -> bool:
        """5xx."""
        return self.code >= 500

    def __str__(self) -> str:
        """Code and words on one line for people: no control characters, at most 500 characters."""
        return _text(self.code, self.lines)


def is_about_sender(code: int, words: str) -> bool:
    """True when a refusal at RCPT says that the relay lets us send to nobody: no recipient is to be blamed for it."""
    return code in _LOG_IN or (code >= 500 and _SENDER.search(words) is not None)


def is_about_size(code: int, words: str) -> bool:
    """True when a refusal says that the relay takes no mail as large as this one, whoever gets it."""
    if code < 500:
        return False
    return bool(_TOO_LARGE.search(words) or (code == 552 and not _ENHANCED.search(words) and _SIZE.search(words)))


# Relays say the same few lines thousands of times; the one with a queue's number in it is soon forgotten.
@lru_cache(maxsize=64)
def _text(code: int, lines: tuple[bytes, ...]) -> str:
    words = b" ".join(lines).decode("utf-8", "replace")
    return f"{code} {_CONTROL.sub(' ', words)}".strip()[:_TEXT_LIMIT]


@lru_cache(maxsize=64)
def _parsed(line: bytes) -> tuple[int, bool, bytes]:
    """Code, whether more lines follow, and the words."""
    found = _LINE.match(line)
    if found is None or len(line) > _LINE_LIMIT or b"\n" in line:
        raise ProtocolError("a line of the server is no reply")
    return int(found[1]), found[2] == b"-", found[3] or b""


@lru_cache(maxsize=64)
def _single(line: bytes) -> Reply | None:
    """The reply that is this line alone; None when more lines belong to it."""
    code, more, words = _parsed(line)
    return None if more else Reply(code, (words,))


class ReplyReader:
    """Cuts a stream of bytes into replies."""

    def __init__(self) -> None:
        self._buffer = b""
        self._code = 0
        self._lines: list[bytes] = []

    @property
    def empty(self) -> bool:
        """True when nothing is left over: no half line, no half reply."""
        return not self._buffer and not self._lines

    def feed(self, data: bytes) -> Iterator[Reply]:
        """The replies that are whole now; raises ProtocolError after those that came before the mistake."""
        *lines, self._buffer = (self._buffer + data).split(b"\r\n")
        if len(self._buffer) > _LINE_LIMIT:
            lines.append(self._buffer)
        for line in lines:
            reply = self._line(line) if self._lines else _single(line) or self._line(line)
            if reply is not None:
                yield reply

    def _line(self, line: bytes) -> Reply | None:
        code, more, words = _parsed(line)
        if self._lines and code != self._code:
            raise ProtocolError("the codes of one reply differ")
        self._code = code
        self._lines.append(words)
        if more:
            if len(self._lines) >= _LINES_LIMIT:
                raise ProtocolError("a reply of the server has too many lines")
            return None
        reply = Reply(code, tuple(self._lines))
        self._lines = []
        return reply
