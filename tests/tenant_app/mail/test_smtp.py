"""The SMTP client: what became of every mail is exact, whatever the server does at whatever step."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from elink_app.mail.address import BadMailbox
from elink_app.mail.smtp import ConnectionFailed, Mail, Outcome, Relay, connect, make_mail

from tests.tenant_app.mail.servers import CLOSE, HANG, Queue, Script, scripted, send, some_mails
from tests.tenant_app.support import eventually

A, D, R, U, UNSENT, S = (
    Outcome.ACCEPTED,
    Outcome.DEFERRED,
    Outcome.REFUSED,
    Outcome.UNKNOWN,
    Outcome.UNSENT,
    Outcome.SENDER_REFUSED,
)
LARGE = Outcome.TOO_LARGE
OK = b"250 2.0.0 ok\r\n"
BOTH = pytest.mark.parametrize("pipelining", [True, False], ids=["pipelined", "one-by-one"])


@BOTH
async def test_all_arrive_over_one_connection(pipelining: bool) -> None:
    script = Script(pipelining=pipelining)
    async with scripted(script) as relay:
        queue, connection = await send(relay, 5)
        assert connection.pipelining is pipelining
        await connection.quit()
    assert queue.results == dict.fromkeys(range(5), A)
    assert queue.words[0] == "250 2.0.0 ok"
    assert script.connections == 1
    assert [line for line in script.commands if line.startswith(b"RCPT")] == [
        f"RCPT TO:<to{number}@there.example>\r\n".encode() for number in range(5)
    ]
    assert script.commands[-1] == b"QUIT\r\n"


async def test_a_pipelined_mail_costs_one_round_trip() -> None:
    """The server sees body n and the three commands of n+1 in one piece before it has answered anything."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 x\r\n")
        for answer in (
            b"250-x\r\n250 PIPELINING\r\n",
            b"250 a\r\n250 b\r\n354 c\r\n",
            b"250 d\r\n250 e\r\n250 f\r\n354 g\r\n",
            OK,
        ):
            seen.append(await reader.read(65536))
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    connection = await connect(Relay("127.0.0.1", server.sockets[0].getsockname()[1]))
    queue = Queue(some_mails(2))
    await connection.run(queue)
    server.close()
    assert queue.results == {0: A, 1: A}
    assert [piece.count(b"\r\nRCPT TO:") for piece in seen] == [0, 1, 1, 0]
    assert seen[2].startswith(
        b"Subject: x\r\n\r\nhello\r\n.\r\nMAIL FROM:<from@sender.example>\r\nRCPT TO:<to1@there.example>\r\nDATA\r\n"
    )


# What happens at a step of the second of three mails, and what became of them: pipelined, one by one.
REFUSALS = [
    ("RCPT", b"550 5.1.1 no such user\r\n", [A, R, A]),
    ("RCPT", b"450 4.2.0 later\r\n", [A, D, A]),
    ("MAIL", b"451 4.3.0 busy\r\n", [A, D, A]),
    ("MAIL", b"550 5.7.1 not yours\r\n", [A, S, A]),
    # Postfix, Exim and Sendmail judge the client and the sender at RCPT.
    ("RCPT", b"554 5.7.1 <to1@there.example>: Relay access denied\r\n", [A, S, A]),
    ("RCPT", b"550 relay not permitted\r\n", [A, S, A]),
    ("RCPT", b"550 5.7.1 <to1@there.example>... Relaying denied\r\n", [A, S, A]),
    ("RCPT", b"553 5.7.1 <x@y>: Sender address rejected: not owned by user\r\n", [A, S, A]),
    ("RCPT", b"550 5.1.8 <x@y>: domain not found\r\n", [A, S, A]),
    ("RCPT", b"450 4.1.8 <x@y>: Sender address rejected: Domain not found\r\n", [A, D, A]),
    ("RCPT", b"554 5.7.1 <to1@there.example>: Recipient address rejected: Access denied\r\n", [A, R, A]),
    ("DATA", b"554 5.5.1 no valid recipients\r\n", [A, R, A]),
    ("DATA", b"452 4.3.1 full\r\n", [A, D, A]),
    ("BODY", b"550 5.7.1 spam\r\n", [A, R, A]),
    ("BODY", b"552 5.3.4 Error: message file too big\r\n", [A, LARGE, A]),
    ("BODY", b"552 Message size exceeds fixed maximum message size\r\n", [A, LARGE, A]),
    ("MAIL", b"552 5.3.4 Message size exceeds fixed limit\r\n", [A, LARGE, A]),
    # These are about one recipient's mailbox.
    ("BODY", b"552 5.2.2 mailbox full, message too large\r\n", [A, R, A]),
    ("BODY", b"554 5.2.3 message too large for this mailbox\r\n", [A, R, A]),
    ("BODY", b"450-4.7.1 first\r\n450 4.7.1 second\r\n", [A, D, A]),
]


@BOTH
@pytest.mark.parametrize(("step", "answer", "expected"), REFUSALS)
async def test_a_refusal_is_of_one_mail(pipelining: bool, step: str, answer: bytes, expected: list[Outcome]) -> None:
    usual = b"354 go on\r\n" if step == "DATA" else OK
    script = Script({step: [usual, answer, usual]}, pipelining)
    async with scripted(script) as relay:
        queue, connection = await send(relay)
    assert [queue.results[number] for number in range(3)] == expected
    assert queue.words[1] == answer.decode().replace("\r\n450", "").replace("450-", "450 ").strip()
    assert not connection.closed
    assert script.connections == 1


# A connection that breaks in some way at a step of the second of three mails.
BREAKS = [CLOSE, HANG, b"what?\r\n" + HANG, b"250" + HANG, b"250-half\r\n" + CLOSE, b"250-a\r\n251 b\r\n" + HANG,
          b"250 " + b"x" * 5000 + HANG, b"421 4.3.2 going down\r\n" + CLOSE, b"\xff\xfe\x00\r\n", b"999 odd\r\n",
          b"250 bare\n250 lf\r\n", b"250-many\r\n" * 500]  # fmt: skip


@BOTH
@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA", "BODY"])
@pytest.mark.parametrize("answer", BREAKS)
async def test_a_break_is_unknown_only_after_the_body(pipelining: bool, step: str, answer: bytes) -> None:
    usual = b"354 go on\r\n" if step == "DATA" else OK
    script = Script({step: [usual, answer, usual]}, pipelining)
    async with scripted(script) as relay:
        queue, connection = await send(relay)
    assert connection.closed
    assert queue.results[0] is A
    if step != "BODY":
        assert queue.results[1] is UNSENT
        assert queue.intents == [0]
    else:
        assert queue.results[1] is (D if answer.startswith(b"421") else U)
        assert queue.intents == [0, 1]
    # The third was taken when its commands went out in a chain; it is surely not sent, or was never touched.
    assert queue.results.get(2, UNSENT) is UNSENT
    assert len(queue.results) + len(queue.mails) == 3
    assert len(script.bodies) == (2 if step == "BODY" else 1)


async def test_words_that_nobody_asked_for_end_the_session_before_the_body() -> None:
    script = Script({"DATA": [b"354 go\r\n250 already accepted\r\n"]})
    async with scripted(script) as relay:
        queue, connection = await send(relay)
    assert queue.results[0] is UNSENT
    assert connection.closed


async def test_a_server_that_wants_a_body_for_nobody_gets_an_empty_one() -> None:
    script = Script({"RCPT": [b"550 no\r\n", OK], "BODY": [b"554 no valid recipients\r\n", OK]})
    async with scripted(script) as relay:
        queue, _ = await send(relay, 2)
    assert queue.results == {0: R, 1: A}
    assert script.bodies[0] == b".\r\n"


async def test_an_idle_server_that_left_costs_no_mail() -> None:
    script = Script({"MAIL": [OK, b"421 idle too long\r\n" + CLOSE]})
    async with scripted(script) as relay:
        queue, connection = await send(relay, 1)
        queue.mails = some_mails(3)[1:]
        await connection.run(queue)
        assert connection.closed
        assert queue.results == {0: A, 1: UNSENT}
        await connection.run(queue)
        assert len(queue.mails) == 1, "a closed connection takes nothing"


async def test_cancelled_while_the_server_thinks() -> None:
    script = Script({"BODY": [HANG]})
    async with scripted(script) as relay:
        queue = Queue(some_mails(3))
        connection = await connect(relay)
        running = asyncio.create_task(connection.run(queue))
        await eventually(lambda: script.bodies)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert queue.results == {0: U, 1: UNSENT}


async def test_a_journal_that_fails_stops_the_mail_before_its_body() -> None:
    class Full(Queue):
        def sending(self, mail: object) -> None:
            raise RuntimeError("disk full")

    script = Script()
    async with scripted(script) as relay:
        queue = Full(some_mails(2))
        connection = await connect(relay)
        with pytest.raises(RuntimeError):
            await connection.run(queue)
        assert connection.closed
    assert queue.results == {0: UNSENT}
    assert script.bodies == []


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b".\r\n", b"..\r\n"),
        (b"a\r\n.\r\nMAIL FROM:<evil@x>\r\n", b"a\r\n..\r\nMAIL FROM:<evil@x>\r\n"),
        (b"a\n.\nMAIL FROM:<evil@x>\n", b"a\r\n..\r\nMAIL FROM:<evil@x>\r\n"),
        (b"a\r.\r\rb", b"a\r\n..\r\n\r\nb\r\n"),
        (b"a\r\n.\nb\r\n", b"a\r\n..\r\nb\r\n"),
        (b"...\r\n.x\r\n", b"....\r\n..x\r\n"),
    ],
)
async def test_no_body_can_end_itself(data: bytes, expected: bytes) -> None:
    script = Script()
    async with scripted(script) as relay:
        queue, _ = await send(relay, 2, data)
    assert queue.results == {0: A, 1: A}
    assert script.bodies == [expected + b".\r\n"] * 2


@pytest.mark.parametrize(
    "address",
    ["a@b\r\nDATA", "a@b>\r\nRCPT TO:<c@d", "a b@c.d", "a@b c", "a", "@b", "a@", 'a"@b.c', "a\\@b.c", "あ@b.c",
     "a@b..c", "a@-b.c", "<a@b.c>", "a@b.c\x00", "x" * 65 + "@b.c", "a@" + "b" * 254, "a,b>@c.d"],
)  # fmt: skip
def test_no_address_can_hold_a_command(address: str) -> None:
    for sender, recipient in ((address, "ok@there.example"), ("ok@here.example", address)):
        with pytest.raises(BadMailbox):
            make_mail(1, sender, recipient, b"x\r\n")


def test_names_of_old_carriers_are_quoted() -> None:
    mail = make_mail(1, "", "a..b.@docomo.ne.jp", b"x\r\n")
    assert mail.commands == (b"MAIL FROM:<>\r\n", b'RCPT TO:<"a..b."@docomo.ne.jp>\r\n', b"DATA\r\n")


@pytest.mark.parametrize(
    ("answers", "permanent"),
    [
        ({"GREETING": [b"554 5.7.1 go away\r\n"]}, True),
        ({"GREETING": [b"421 too many\r\n" + CLOSE]}, False),
        ({"GREETING": [HANG]}, False),
        ({"GREETING": [b"HTTP/1.1 400 Bad Request\r\n"]}, False),
        ({"EHLO": [b"502 what?\r\n"]}, True),
        ({"EHLO": [b"250-x\r\n" + CLOSE]}, False),
    ],
)
async def test_no_session_says_why(answers: dict[str, list[bytes]], permanent: bool) -> None:
    async with scripted(Script(answers)) as relay:
        with pytest.raises(ConnectionFailed) as failed:
            await connect(relay)
    assert failed.value.permanent is permanent
    assert str(failed.value)


async def test_nobody_listens() -> None:
    async with scripted(Script()) as relay:
        pass
    with pytest.raises(ConnectionFailed):
        await connect(relay)


def with_files(number: int, size: int) -> Mail:
    """A mail as the composer makes it: a head, and a long piece that all mails share."""
    to = f"to{number}@there.example"
    return make_mail(number, "from@sender.example", to, b"Subject: x\r\n\r\n", b"QUJD\r\n" * (size // 6))


@BOTH
async def test_long_bodies_arrive_whole_among_short_ones(pipelining: bool) -> None:
    script = Script(pipelining=pipelining)
    sizes = [60_000, 1_500_000, 6, 1_500_000]
    async with scripted(script) as relay:
        # Sent as fast as it is taken; how fast is the machine's.
        connection = await connect(replace(relay, final_timeout=60))
        queue = Queue([with_files(number, size) for number, size in enumerate(sizes)])
        bodies = [b"".join(mail.pieces) for mail in queue.mails]
        await connection.run(queue)
    assert queue.results == dict.fromkeys(range(4), A)
    assert script.bodies == bodies


async def test_a_long_body_that_breaks_off_was_not_sent() -> None:
    script = Script({"DATA": [b"354 go on\r\n" + CLOSE]})
    async with scripted(script) as relay:
        connection = await connect(relay)
        # More than the buffers of the system take.
        queue = Queue([with_files(0, 40_000_000)])
        await connection.run(queue)
    assert queue.intents == [0]
    assert queue.results == {0: UNSENT}
