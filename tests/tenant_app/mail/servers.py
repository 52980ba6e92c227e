"""SMTP servers for tests: one that misbehaves by script, and what the client asks of its source."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from elink_app.mail.smtp import Mail, Outcome, Relay, SmtpConnection, connect, make_mail

CLOSE = b"<close>"
HANG = b"<hang>"


@dataclass
class Script:
    """Answers by command (`EHLO`, `MAIL`, `RCPT`, `DATA`, `BODY`, `RSET`, `GREETING`), one by one, the last for ever.

    An answer is sent as it is; `CLOSE` and `HANG` at its end do what they say.
    """

    answers: dict[str, list[bytes]] = field(default_factory=dict)
    pipelining: bool = True
    commands: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0

    def answer(self, command: str) -> bytes:
        usual = {
            "GREETING": b"220 script ready\r\n",
            "EHLO": b"250-script\r\n250-PIPELINING\r\n250 8BITMIME\r\n" if self.pipelining else b"250 script\r\n",
            "DATA": b"354 go on\r\n",
            "QUIT": b"221 bye\r\n",
        }
        left = self.answers.get(command)
        if not left:
            return usual.get(command, b"250 2.0.0 ok\r\n")
        return left.pop(0) if len(left) > 1 else left[0]


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[Relay]:
    """A server that plays the script on loopback."""

    sessions: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script.connections += 1
        sessions.add(asyncio.current_task())  # type: ignore[arg-type]
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await _session(script, reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 22)
    port = server.sockets[0].getsockname()[1]
    # Only for an answer that never comes nobody shall wait long: every other one may take its time.
    hangs = any(answer.endswith(HANG) for answers in script.answers.values() for answer in answers)
    patience = 0.8 if hangs else 60
    try:
        yield Relay("127.0.0.1", port, command_timeout=patience, final_timeout=patience, connect_timeout=60)
    finally:
        server.close()
        for session in sessions:
            session.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)


async def _session(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if not await _say(script.answer("GREETING"), reader, writer):
        return
    while line := await reader.readline():
        script.commands.append(line)
        word = line.split()[0].decode().upper()
        answer = script.answer(word)
        if not await _say(answer, reader, writer):
            return
        if word == "DATA" and answer.startswith(b"354"):
            body = [await reader.readline()]
            while body[-1] not in (b".\r\n", b""):
                body.append(await reader.readline())
            script.bodies.append(b"".join(body))
            if not await _say(script.answer("BODY"), reader, writer):
                return


async def _say(answer: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    text = answer.removesuffix(CLOSE).removesuffix(HANG)
    writer.write(text)
    await writer.drain()
    if answer.endswith(HANG):
        await reader.read()
    return not answer.endswith((CLOSE, HANG))


@dataclass
class Queue:
    """A source of mails that remembers everything."""

    mails: list[Mail]
    intents: list[int] = field(default_factory=list)
    results: dict[int, Outcome] = field(default_factory=dict)
    words: dict[int, str] = field(default_factory=dict)

    def take(self) -> Mail | None:
        return self.mails.pop(0) if self.mails else None

    def sending(self, mail: Mail) -> None:
        assert mail.id not in self.results
        self.intents.append(mail.id)

    def result(self, mail: Mail, outcome: Outcome, words: str) -> None:
        assert mail.id not in self.results, "a mail has one result"
        self.results[mail.id] = outcome
        self.words[mail.id] = words


def some_mails(count: int, data: bytes = b"Subject: x\r\n\r\nhello\r\n") -> list[Mail]:
    return [make_mail(number, "from@sender.example", f"to{number}@there.example", data) for number in range(count)]


async def send(
    relay: Relay, count: int = 3, data: bytes = b"Subject: x\r\n\r\nhello\r\n"
) -> tuple[Queue, SmtpConnection]:
    """Send `count` mails over one connection."""
    queue = Queue(some_mails(count, data))
    connection = await connect(relay)
    await connection.run(queue)
    return queue, connection
