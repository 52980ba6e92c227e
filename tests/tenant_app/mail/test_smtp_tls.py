"""The SMTP client against aiosmtpd: STARTTLS, implicit TLS and log-in with real handshakes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword
from elink_app.mail.smtp import ConnectionFailed, Outcome, Relay, connect

from tests.tenant_app.mail.servers import HANG, Queue, Script, scripted, send, some_mails
from tests.tenant_app.mail.tls import make_contexts


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    return make_contexts(tmp_path_factory.mktemp("tls"))


class Handler:
    """Keeps what arrives."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    async def handle_DATA(self, _server: object, _session: object, envelope: Envelope) -> str:
        self.envelopes.append(envelope)
        return "250 2.0.0 taken"


def check_login(_server: object, _session: object, _envelope: object, _mechanism: str, data: object) -> AuthResult:
    assert isinstance(data, LoginPassword)
    good = (data.login, data.password) == (b"user@x", "pässwörd".encode())
    return AuthResult(success=good, handled=False)


@asynccontextmanager
async def real(
    handler: Handler, *, tls: ssl.SSLContext | None = None, implicit: bool = False, **options: object
) -> AsyncIterator[Relay]:
    """aiosmtpd on loopback."""
    loop = asyncio.get_running_loop()

    def make() -> SMTP:
        return SMTP(handler, hostname="aiosmtpd", tls_context=None if implicit else tls, loop=loop, **options)

    server = await loop.create_server(make, "127.0.0.1", 0, ssl=tls if implicit else None)
    try:
        yield Relay("localhost", server.sockets[0].getsockname()[1], command_timeout=60, final_timeout=60)
    finally:
        server.close()


@pytest.mark.parametrize("mode", ["off", "starttls", "implicit"])
@pytest.mark.parametrize("loop", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_mails_arrive_by_every_road(
    contexts: tuple[ssl.SSLContext, Path], mode: str, loop: Callable[..., Handler]
) -> None:
    """On both loops: production has the other one than the tests."""

    async def roads() -> Handler:
        handler = Handler()
        async with real(handler, tls=contexts[0] if mode != "off" else None, implicit=mode == "implicit") as relay:
            queue, connection = await send(
                replace(relay, tls=mode, authority=contexts[1]), 3, b"Subject: x\r\n\r\n.dot\r\n"
            )
            await connection.quit()
        assert queue.results == dict.fromkeys(range(3), Outcome.ACCEPTED)
        return handler

    handler = loop(roads())
    assert [envelope.content for envelope in handler.envelopes] == [b"Subject: x\r\n\r\n.dot\r\n"] * 3
    assert [envelope.rcpt_tos for envelope in handler.envelopes] == [[f"to{n}@there.example"] for n in range(3)]


@pytest.mark.parametrize("without", ["PLAIN", "LOGIN"])
async def test_log_in(contexts: tuple[ssl.SSLContext, Path], without: str) -> None:
    handler = Handler()
    options = {"authenticator": check_login, "auth_required": True, "auth_exclude_mechanism": [without]}
    async with real(handler, tls=contexts[0], **options) as relay:
        good = replace(relay, tls="starttls", authority=contexts[1], user="user@x", password="pässwörd")
        queue, _ = await send(good, 2)
        assert set(queue.results.values()) == {Outcome.ACCEPTED}
        with pytest.raises(ConnectionFailed) as failed:
            await connect(replace(good, password="wrong"))
        assert failed.value.permanent
        assert "wrong" not in str(failed.value)
        # Without a log-in the relay refuses the sender, not the recipients.
        queue, _ = await send(replace(good, user=""), 1)
        assert queue.results == {0: Outcome.SENDER_REFUSED}


async def test_no_password_without_tls_and_no_tls_without_a_name(
    contexts: tuple[ssl.SSLContext, Path],
) -> None:
    script = Script({"EHLO": [b"250-x\r\n250 AUTH PLAIN LOGIN\r\n"]})
    async with scripted(script) as relay:
        with pytest.raises(ConnectionFailed, match="without TLS"):
            await connect(replace(relay, user="me", password="secret"))
        with pytest.raises(ConnectionFailed, match="STARTTLS"):
            await connect(replace(relay, tls="starttls"))
    assert not any(b"AUTH" in line for line in script.commands)
    async with real(Handler(), tls=contexts[0]) as relay:
        with pytest.raises(ConnectionFailed):
            await connect(replace(relay, host="127.0.0.1", tls="starttls", authority=contexts[1]))
        with pytest.raises(ConnectionFailed):
            await connect(replace(relay, tls="starttls"))


async def test_an_authority_that_is_none_is_a_relay_that_cannot_be_reached(
    contexts: tuple[ssl.SSLContext, Path], tmp_path: Path
) -> None:
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("-----BEGIN CERTIFICATE-----\nx\n")
    for mode in ("starttls", "implicit"):
        async with real(Handler(), tls=contexts[0], implicit=mode == "implicit") as relay:
            for authority in (nonsense, tmp_path / "missing"):
                with pytest.raises(ConnectionFailed):
                    await connect(replace(relay, tls=mode, authority=authority))
    async with real(Handler()) as relay:
        # Without TLS nobody looks at it.
        queue, _ = await send(replace(relay, tls="off", authority=nonsense), 1)
        assert queue.results == {0: Outcome.ACCEPTED}


async def test_plain_text_before_the_handshake_is_not_believed() -> None:
    script = Script(
        {"EHLO": [b"250-x\r\n250 STARTTLS\r\n"], "STARTTLS": [b"220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n" + HANG]}
    )
    async with scripted(script) as relay:
        with pytest.raises(ConnectionFailed, match="plain text"):
            await connect(replace(relay, tls="starttls", user="me", password="secret"))
    assert [line.split()[0] for line in script.commands] == [b"EHLO", b"STARTTLS"]


async def test_hundreds_over_ten_connections(contexts: tuple[ssl.SSLContext, Path]) -> None:
    handler = Handler()
    async with real(handler) as relay:
        queue = Queue(some_mails(300))
        connections = [await connect(relay) for _ in range(10)]
        await asyncio.gather(*(connection.run(queue) for connection in connections))
    assert set(queue.results.values()) == {Outcome.ACCEPTED}
    assert len({envelope.rcpt_tos[0] for envelope in handler.envelopes}) == 300
