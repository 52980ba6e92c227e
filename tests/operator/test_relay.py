"""The operator's SMTP client against a server that answers what the test says, TLS and log-in included."""

from __future__ import annotations

import asyncio
from email.message import EmailMessage
from pathlib import Path

import pytest
from elink_operator.relay import Relay, RelayAway

from tests.tenant_app.mail.servers import CLOSE, Script, scripted
from tests.tenant_app.mail.tls import make_contexts


def mail(to: str, text: str = "こんにちは\n.\nQUIT\n") -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "elink@elink.example", to, "解約"
    made.set_content(text, cte="base64")
    return made


MAILS = [mail(f"{name}@acme.example") for name in "abc"]


async def test_all_are_taken_over_one_connection() -> None:
    script = Script()
    async with scripted(script) as there:
        assert await Relay(there.host, there.port).send(MAILS) == []
    assert (len(script.bodies), script.connections) == (3, 1)
    assert [c for c in script.commands if c.startswith((b"RCPT", b"rcpt"))] == [
        f"rcpt TO:<{name}@acme.example>\r\n".encode() for name in "abc"
    ]


@pytest.mark.parametrize("command", ["RCPT", "BODY"])
async def test_a_refusal_for_good_is_named_and_the_others_go_on(command: str) -> None:
    script = Script({command: [b"550 5.1.1 nobody\r\n", b"250 ok\r\n"]})
    async with scripted(script) as there:
        assert await Relay(there.host, there.port).send(MAILS) == ["a@acme.example"]


@pytest.mark.parametrize("command", ["RCPT", "BODY"])
@pytest.mark.parametrize("answer", [b"451 4.3.0 later\r\n", b"421 closing\r\n" + CLOSE, CLOSE])
async def test_what_may_pass_is_tried_again_without_who_has_it(command: str, answer: bytes) -> None:
    script = Script({command: [b"250 ok\r\n", answer, b"250 ok\r\n"]})
    async with scripted(script) as there:
        with pytest.raises(RelayAway) as caught:
            await Relay(there.host, there.port).send(MAILS)
    assert caught.value.accepted == ("a@acme.example",)
    assert "acme" not in str(caught.value)


async def test_nobody_listens_and_nobody_speaks_smtp() -> None:
    with pytest.raises(RelayAway):
        await Relay("127.0.0.1", 9).send(MAILS)
    async with scripted(Script({"GREETING": [b"HTTP/1.1 200 OK\r\n" + CLOSE]})) as there:
        with pytest.raises(RelayAway):
            await Relay(there.host, there.port).send(MAILS)


async def test_a_refused_log_in_says_its_code_and_no_secret(tmp_path: Path) -> None:
    (tmp_path / "username").write_text("elink\n")
    (tmp_path / "password").write_text("hush-hush\n")
    script = Script({"EHLO": [b"250-script\r\n250 AUTH PLAIN\r\n"], "AUTH": [b"535 5.7.8 no\r\n"]})
    async with scripted(script) as there:
        with pytest.raises(RelayAway, match="535") as caught:
            await Relay(there.host, there.port, login=str(tmp_path)).send(MAILS)
    assert "hush" not in str(caught.value)
    with pytest.raises(RelayAway):
        async with scripted(Script()) as there:
            await Relay(there.host, there.port, login=str(tmp_path / "missing")).send(MAILS)


async def test_starttls_is_demanded_and_the_certificate_is_checked(tmp_path: Path) -> None:
    async with scripted(Script()) as there:
        with pytest.raises(RelayAway):
            await Relay(there.host, there.port, tls="starttls").send(MAILS)
    server, authority = make_contexts(tmp_path)
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 tls\r\n")
        while line := await reader.readline():
            got.append(line)
            word = line.split()[0].upper()
            writer.write(b"354 go\r\n" if word == b"DATA" else b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
            if word == b"DATA":
                while await reader.readline() != b".\r\n":
                    pass
                writer.write(b"250 taken\r\n")

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server)
    port = listening.sockets[0].getsockname()[1]
    try:
        assert await Relay("localhost", port, tls="implicit", authority=str(authority)).send(MAILS[:1]) == []
        with pytest.raises(RelayAway):
            await Relay("localhost", port, tls="implicit").send(MAILS[:1])
    finally:
        listening.close()
    assert any(line.startswith(b"rcpt TO") for line in got)
