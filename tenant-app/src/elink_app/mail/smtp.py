"""An SMTP client for many mails over few connections.

With PIPELINING the body of one mail and the commands of the next leave in one write: one round trip per mail. What
became of each mail is exact at every point where a connection can break: before the last byte of a body is written a
mail is `UNSENT`; after it, without a proper reply, it is `UNKNOWN`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal, Protocol

from elink_app.mail.address import Mailbox, mailbox
from elink_app.mail.smtp_reply import ProtocolError, Reply, is_about_sender, is_about_size
from elink_app.mail.smtp_wire import Wire


class Outcome(StrEnum):
    """`DEFERRED`: 4xx; `REFUSED`: 5xx; `SENDER_REFUSED`: the relay does not let us send under this name at all;
    `TOO_LARGE`: it takes no mail of this size, whoever gets it."""

    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    REFUSED = "refused"
    SENDER_REFUSED = "sender_refused"
    TOO_LARGE = "too_large"
    UNSENT = "unsent"
    UNKNOWN = "unknown"


class ConnectionFailed(Exception):
    """No session with the relay. `permanent`: it answered 5xx, or the log-in failed; waiting alone will not help."""

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


@dataclass(frozen=True)
class Relay:
    """Where mail goes. `tls`: off, starttls (demanded), implicit. Times in seconds.

    `authority`: file of the only certificate authority to trust (PEM), read at each connection; None: the public ones.
    """

    host: str
    port: int = 25
    tls: Literal["off", "starttls", "implicit"] = "off"
    user: str = ""
    password: str = field(default="", repr=False)
    authority: Path | None = None
    local_name: str = "localhost"
    connect_timeout: float = 15
    command_timeout: float = 60
    # RFC 5321 asks for ten minutes: a server may scan before it answers, and hanging up too early doubles mails.
    final_timeout: float = 600

    def tls_context(self) -> ssl.SSLContext:
        """How its certificate is judged. Raises OSError for an authority that cannot be read or is none."""
        context = ssl.create_default_context(cafile=self.authority)
        # Python 3.13 demands key identifiers, which certificates made by hand often lack; other mail programs do not.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context


@dataclass(slots=True)
class Mail:
    """One mail to one recipient, ready for the wire; made by `make_mail`. `id` is the caller's.

    The body is in pieces, most of them the same objects in every mail of a delivery: hundreds of mails wait here.
    """

    id: int
    commands: tuple[bytes, bytes, bytes]
    pieces: tuple[bytes, ...]

    @property
    def body(self) -> bytes:
        """The body in one piece."""
        return b"".join(self.pieces)


def make_mail(mail_id: int, sender: str, recipient: str, data: bytes, encoded: bytes = b"") -> Mail:
    """A mail of `data`, a message or its head; `encoded` follows as it is and must be whole lines of base 64 or MIME.

    An empty `sender` is the null sender. Raises BadMailbox; after that no mail can hold a second command or a second
    mail, whatever its parts were.
    """
    return mail_between(mail_id, mailbox(sender) if sender else None, mailbox(recipient), data, encoded)


def mail_between(mail_id: int, sender: Mailbox | None, recipient: Mailbox, data: bytes, *encoded: bytes) -> Mail:
    """As `make_mail`, for mailboxes that were checked already and a body in pieces."""
    return Mail(
        mail_id,
        (
            f"MAIL FROM:<{sender or ''}>\r\n".encode("ascii"),
            f"RCPT TO:<{recipient}>\r\n".encode("ascii"),
            b"DATA\r\n",
        ),
        (_stuffed(data), *encoded, b".\r\n"),
    )


class Source(Protocol):
    """Where a connection takes its mails from, and where it tells what became of them."""

    def take(self) -> Mail | None:
        """The next mail, or None when there is none now."""
        ...

    def sending(self, mail: Mail) -> None:
        """Called before the first byte of the body is written: from here on the mail may arrive."""
        ...

    def result(self, mail: Mail, outcome: Outcome, words: str) -> None:
        """Called once for every mail taken."""
        ...


_LINE_ENDS = re.compile(rb"\r\n|\r|\n")
_BROKEN = (OSError, TimeoutError, ProtocolError)


class SmtpConnection:
    """One session. Made by `connect`; `run` may be called again and again until it is `closed`."""

    def __init__(self, relay: Relay, wire: Wire) -> None:
        self._relay = relay
        self._wire = wire
        self._extensions: dict[str, str] = {}
        # The last transaction was begun and refused: a new one needs RSET before.
        self._begun = False
        self.closed = False

    @property
    def pipelining(self) -> bool:
        """True when the server said that it takes commands in groups."""
        return "PIPELINING" in self._extensions

    async def run(self, source: Source) -> None:
        """Send what `source` gives until it gives nothing or the connection closes. Every taken mail gets a result."""
        mail = None if self.closed else source.take()
        opened = False
        while mail is not None:
            if self.closed:
                source.result(mail, Outcome.UNSENT, "")
                return
            mail, opened = await self._one(source, mail, opened)

    async def _one(self, source: Source, mail: Mail, opened: bool) -> tuple[Mail | None, bool]:
        """Send one mail. Returns the next, and whether its commands have gone out already."""
        outcome, words = Outcome.UNSENT, ""
        following: Mail | None = None
        try:
            refusal = await self._open(mail, opened)
            if refusal is not None:
                outcome, words = refusal
            else:
                source.sending(mail)
                following = source.take() if self.pipelining else None
                if not self._wire.clean:
                    raise ProtocolError("the server answers what was not asked")
                rest = await self._wire.send_ahead(mail.pieces, self._relay.final_timeout)
                outcome = Outcome.UNKNOWN
                outcome, words = await self._body(rest, following)
        except _BROKEN as error:
            self.abort()
            words = _describe(error)
        except BaseException:
            self.abort()
            if following is not None:
                source.result(following, Outcome.UNSENT, "")
            raise
        finally:
            source.result(mail, outcome, words)
        if following is None and not self.closed:
            return source.take(), False
        return following, True

    async def _open(self, mail: Mail, opened: bool) -> tuple[Outcome, str] | None:
        """MAIL, RCPT, DATA up to the server's 354; None then, otherwise what became of the mail."""
        commands = [b"RSET\r\n", *mail.commands] if self._begun else list(mail.commands)
        if self.pipelining:
            if not opened:
                self._wire.write(b"".join(commands))
            replies = await self._wire.replies(len(commands), self._relay.command_timeout)
        else:
            replies = []
            for command in commands:
                replies.append(await self._command(command))
                if not replies[-1].positive:
                    break
        if self._begun and not replies.pop(0).positive:
            raise ProtocolError("the server cannot begin again")
        self._begun = False
        sender, recipient, data = [*replies, *[replies[-1]] * (3 - len(replies))]
        if sender.positive and recipient.positive and data.code == 354:
            return None
        return await self._refused(sender, recipient, data)

    async def _refused(self, sender: Reply, recipient: Reply, data: Reply) -> tuple[Outcome, str]:
        first = next((reply for reply in (sender, recipient) if not reply.positive), data)
        if first.code < 400:
            raise ProtocolError(f"unexpected reply {first.code}")
        if first.code == 421:
            self.abort()
            return Outcome.UNSENT, str(first)
        self._begun = True
        if data.code == 354:
            await self._end_empty_body()
        if first.transient:
            return Outcome.DEFERRED, str(first)
        if is_about_size(first.code, str(first)):
            return Outcome.TOO_LARGE, str(first)
        if first is sender or (first is recipient and is_about_sender(first.code, str(first))):
            return Outcome.SENDER_REFUSED, str(first)
        return Outcome.REFUSED, str(first)

    async def _end_empty_body(self) -> None:
        """RFC 2920, 3.1: a server may ask for the body though it took no recipient; an empty one ends it."""
        self._wire.write(b".\r\n")
        try:
            await self._wire.reply(self._relay.final_timeout)
        except _BROKEN:
            self.abort()

    async def _body(self, pieces: Sequence[bytes], following: Mail | None) -> tuple[Outcome, str]:
        """The end of a body and what follows it; exact unless the connection breaks before the reply."""
        if self._wire.ended:
            self.abort()
            return Outcome.UNSENT, "the server closed the connection"
        self._wire.write_all(pieces if following is None else (*pieces, *following.commands))
        await self._wire.drained(self._relay.final_timeout)
        reply = await self._wire.reply(self._relay.final_timeout)
        if reply.code == 421:
            self.abort()
        if reply.positive:
            return Outcome.ACCEPTED, str(reply)
        if reply.transient:
            return Outcome.DEFERRED, str(reply)
        if reply.permanent:
            return Outcome.TOO_LARGE if is_about_size(reply.code, str(reply)) else Outcome.REFUSED, str(reply)
        self.abort()
        return Outcome.UNKNOWN, str(reply)

    async def _command(self, command: bytes) -> Reply:
        self._wire.write(command)
        return await self._wire.reply(self._relay.command_timeout)

    async def open(self) -> None:
        """Greeting, EHLO, TLS, log-in. Raises ConnectionFailed."""
        relay = self._relay
        try:
            _expect(await self._wire.reply(relay.command_timeout), 220)
            await self._hello()
            if relay.tls == "starttls":
                await self._start_tls()
            if relay.user:
                await self._log_in()
        except ConnectionFailed:
            self.abort()
            raise
        except (*_BROKEN, ssl.SSLError) as error:
            self.abort()
            raise ConnectionFailed(_describe(error)) from error

    async def _hello(self) -> None:
        reply = _expect(await self._command(f"EHLO {self._relay.local_name}\r\n".encode("ascii")), 250)
        lines = [line.decode("ascii", "replace").strip() for line in reply.lines[1:]]
        self._extensions = {name.upper(): rest.upper() for name, _, rest in (line.partition(" ") for line in lines)}

    async def _start_tls(self) -> None:
        if "STARTTLS" not in self._extensions:
            raise ConnectionFailed("the relay does not offer STARTTLS", permanent=True)
        _expect(await self._command(b"STARTTLS\r\n"), 220)
        if not self._wire.clean:
            # Somebody put plain text before the handshake, to have it taken for the server's own words after it.
            raise ConnectionFailed("plain text after STARTTLS", permanent=True)
        if self._wire.transport is None:
            raise ConnectionFailed("the connection is gone")
        async with asyncio.timeout(self._relay.connect_timeout):
            transport = await asyncio.get_running_loop().start_tls(
                self._wire.transport,
                self._wire,
                self._relay.tls_context(),
                server_hostname=self._relay.host,
            )
        if transport is None:
            raise ConnectionFailed("the connection is gone")
        self._wire.connection_made(transport)
        await self._hello()

    async def _log_in(self) -> None:
        relay = self._relay
        if relay.tls == "off":
            raise ConnectionFailed("a password is not sent without TLS", permanent=True)
        methods = self._extensions.get("AUTH", "").split()
        if "PLAIN" in methods:
            secret = base64.b64encode(f"\0{relay.user}\0{relay.password}".encode())
            _expect(await self._command(b"AUTH PLAIN " + secret + b"\r\n"), 235)
        elif "LOGIN" in methods:
            _expect(await self._command(b"AUTH LOGIN\r\n"), 334)
            _expect(await self._command(base64.b64encode(relay.user.encode()) + b"\r\n"), 334)
            _expect(await self._command(base64.b64encode(relay.password.encode()) + b"\r\n"), 235)
        else:
            raise ConnectionFailed("the relay offers neither AUTH PLAIN nor LOGIN", permanent=True)

    async def quit(self) -> None:
        """Say goodbye where that is possible, and close."""
        if not self.closed:
            with contextlib.suppress(*_BROKEN):
                self._wire.write(b"QUIT\r\n")
                await self._wire.reply(2)
        self.abort()

    def abort(self) -> None:
        """Close at once."""
        self.closed = True
        self._wire.close()


async def connect(relay: Relay) -> SmtpConnection:
    """A session that is ready for mails. Raises ConnectionFailed."""
    loop = asyncio.get_running_loop()
    try:
        context = relay.tls_context() if relay.tls == "implicit" else None
        async with asyncio.timeout(relay.connect_timeout):
            _, wire = await loop.create_connection(Wire, relay.host, relay.port, ssl=context)
    except (OSError, TimeoutError, ssl.SSLError) as error:
        raise ConnectionFailed(_describe(error)) from error
    connection = SmtpConnection(relay, wire)
    await connection.open()
    return connection


def _expect(reply: Reply, code: int) -> Reply:
    if reply.code != code:
        raise ConnectionFailed(str(reply), permanent=reply.permanent)
    return reply


def _stuffed(data: bytes) -> bytes:
    """CRLF line ends and no others (a bare one could end the mail for a lenient server), leading dots doubled."""
    if data.count(b"\n") != (whole := data.count(b"\r\n")) or data.count(b"\r") != whole:
        data = _LINE_ENDS.sub(b"\r\n", data)
    if not data.endswith(b"\r\n"):
        data += b"\r\n"
    if data.startswith(b"."):
        data = b"." + data
    return data.replace(b"\r\n.", b"\r\n..") if b"\r\n." in data else data


def _describe(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
