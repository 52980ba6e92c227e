"""A small SMTP server (RFC 5321) that takes mail for addresses it knows and nothing else; bounded everywhere."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import Protocol

import structlog

MOST_BYTES = 1024 * 1024
_LINE = 8192
_MOST_CONNECTIONS = 100
_MOST_ERRORS = 10
_MOST_RECIPIENTS = 20
_COMMAND_SECONDS = 60.0
_DATA_SECONDS = 180.0
_SESSION_SECONDS = 600.0
_MAIL = re.compile(rb"MAIL FROM:\s*<([^<>\x00-\x20]*)>(?: (.*))?\Z", re.IGNORECASE)
_RCPT = re.compile(rb"RCPT TO:\s*<([^<>\x00-\x20]+)>(?: .*)?\Z", re.IGNORECASE)
_SIZE = re.compile(rb"(?:^| )SIZE=([0-9]{1,12})(?: |\Z)", re.IGNORECASE)

log = structlog.get_logger("inbound")


class TryLater(Exception):
    """The mailbox cannot take the mail now."""


class Mailboxes(Protocol):
    """Who gets mail here."""

    async def knows(self, address: str) -> bool:
        """True when mail for the address is taken. Raises TryLater."""
        ...

    async def deliver(self, address: str, data: bytes) -> None:
        """Take a mail of a known address. Raises TryLater."""
        ...


class _TooBig(Exception):
    """The body was longer than announced or allowed; it has been read to its end."""


class SmtpServer:
    """Serves connections; `handle` is the callback of `asyncio.start_server`."""

    def __init__(self, name: str, mailboxes: Mailboxes) -> None:
        self._name = name
        self._mailboxes = mailboxes
        self._connections = 0

    async def start(self, host: str, port: int) -> asyncio.Server:
        """Listen."""
        return await asyncio.start_server(self.handle, host, port, limit=_LINE)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection from greeting to end."""
        self._connections += 1
        try:
            if self._connections > _MOST_CONNECTIONS:
                writer.write(b"421 4.3.2 too many connections\r\n")
            else:
                async with asyncio.timeout(_SESSION_SECONDS):
                    await _Session(self._name, self._mailboxes, reader, writer).run()
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError):
            pass
        except Exception as error:
            log.error("inbound session failed", exc_info=error)
        finally:
            self._connections -= 1
            with contextlib.suppress(ConnectionError):
                writer.close()


class _Session:
    def __init__(
        self, name: str, mailboxes: Mailboxes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._name = name.encode("ascii")
        self._mailboxes = mailboxes
        self._reader = reader
        self._writer = writer
        self._greeted = False
        self._has_sender = False
        self._recipients: list[str] = []

    async def run(self) -> None:
        await self._say(b"220 " + self._name + b" ESMTP")
        errors = 0
        while errors < _MOST_ERRORS:
            try:
                async with asyncio.timeout(_COMMAND_SECONDS):
                    line = (await self._reader.readuntil(b"\r\n"))[:-2]
            except asyncio.LimitOverrunError:
                await self._say(b"500 5.5.2 line too long")
                return
            word = line[:4].upper()
            if word == b"QUIT":
                await self._say(b"221 2.0.0 bye")
                return
            reply = await self._command(word, line)
            errors += reply.startswith(b"5")
            await self._say(reply)
        await self._say(b"421 4.7.0 too many errors")

    async def _command(self, word: bytes, line: bytes) -> bytes:
        if word in (b"EHLO", b"HELO"):
            self._reset()
            self._greeted = True
            if word == b"HELO":
                return b"250 " + self._name
            extensions = (self._name, b"PIPELINING", b"SIZE %d" % MOST_BYTES, b"8BITMIME")
            return b"".join(b"250-" + one + b"\r\n" for one in extensions) + b"250 ENHANCEDSTATUSCODES"
        if word in (b"NOOP", b"RSET"):
            if word == b"RSET":
                self._reset()
            return b"250 2.0.0 ok"
        if not self._greeted:
            return b"503 5.5.1 EHLO first"
        if word == b"MAIL":
            return self._mail(line)
        if word == b"RCPT":
            return await self._rcpt(line)
        if word == b"DATA" and len(line) == 4:
            return await self._data()
        return b"500 5.5.1 unknown command"

    def _mail(self, line: bytes) -> bytes:
        found = _MAIL.match(line)
        if self._has_sender:
            return b"503 5.5.1 one sender"
        if found is None:
            return b"501 5.5.4 syntax: MAIL FROM:<address>"
        size = _SIZE.search(found[2] or b"")
        if size is not None and int(size[1]) > MOST_BYTES:
            return b"552 5.3.4 message too big"
        self._has_sender = True
        return b"250 2.1.0 ok"

    async def _rcpt(self, line: bytes) -> bytes:
        found = _RCPT.match(line)
        if not self._has_sender:
            return b"503 5.5.1 MAIL first"
        if found is None or not found[1].isascii():
            return b"501 5.5.4 syntax: RCPT TO:<address>"
        if len(self._recipients) >= _MOST_RECIPIENTS:
            return b"452 4.5.3 too many recipients"
        address = found[1].decode("ascii")
        try:
            if not await self._mailboxes.knows(address):
                return b"550 5.1.1 no such mailbox"
        except TryLater:
            return b"451 4.3.0 try again later"
        self._recipients.append(address)
        return b"250 2.1.5 ok"

    async def _data(self) -> bytes:
        if not self._recipients:
            return b"503 5.5.1 RCPT first"
        await self._say(b"354 end with <CRLF>.<CRLF>")
        recipients = self._recipients
        self._reset()
        try:
            async with asyncio.timeout(_DATA_SECONDS):
                data = await self._body()
            for address in recipients:
                await self._mailboxes.deliver(address, data)
        except _TooBig:
            return b"552 5.3.4 message too big"
        except TryLater:
            return b"451 4.3.0 try again later"
        return b"250 2.0.0 taken"

    async def _body(self) -> bytes:
        """Up to the lone dot between two CRLF; a bare LF ends no line, so nothing can be smuggled in behind one."""
        body = bytearray()
        size, begins = 0, True
        while True:
            line = await self._line()
            if begins and line == b".\r\n":
                break
            size += len(line)
            if size <= MOST_BYTES:
                body += line[1:] if begins and line.startswith(b".") else line
            begins = line.endswith(b"\r\n")
        if size > MOST_BYTES:
            raise _TooBig
        return bytes(body)

    async def _line(self) -> bytes:
        """A line, or a piece of one that is longer than the buffer."""
        try:
            return await self._reader.readuntil(b"\r\n")
        except asyncio.LimitOverrunError as overrun:
            return await self._reader.readexactly(max(1, overrun.consumed))

    def _reset(self) -> None:
        self._has_sender = False
        self._recipients = []

    async def _say(self, reply: bytes) -> None:
        self._writer.write(reply + b"\r\n")
        await self._writer.drain()
