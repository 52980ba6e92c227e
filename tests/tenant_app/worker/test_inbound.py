"""Bounces and complaints that come back over SMTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from elink_app.clock import utc_now
from elink_app.mail.smtp import Outcome, Relay, SmtpConnection, connect, make_mail
from elink_app.mail.smtp_server import MOST_BYTES, SmtpServer, TryLater
from elink_app.mail.tokens import DeliveryTokens, tenant_mark
from elink_app.registry.directory import TenantDirectory
from elink_app.worker.inbound import BounceMailboxes

from tests.tenant_app.mail.reports import AWAY, complaint, dsn
from tests.tenant_app.mail.servers import Queue
from tests.tenant_app.support import World
from tests.tenant_app.worker.deliveries import (
    CountingRelay,
    Office,
    counts,
    make_delivery,
    open_office,
    relaying,
)


@asynccontextmanager
async def inbound(office: Office) -> AsyncIterator[Relay]:
    """The receiver of this world's tenants."""
    parts = office.world.parts
    boxes = BounceMailboxes("bounce.example", parts.directory, parts.databases.transaction, parts.metrics, utc_now)
    server = await SmtpServer("mx.bounce.example", boxes).start("127.0.0.1", 0)
    try:
        yield Relay("127.0.0.1", server.sockets[0].getsockname()[1], command_timeout=60, final_timeout=60)
    finally:
        server.close()


async def report(relay: Relay, to: str, data: bytes, sender: str = "") -> tuple[Outcome, str]:
    """Send one mail to the receiver, as a foreign mail system does."""
    queue = Queue([make_mail(1, sender, to, data)])
    connection = await connect(relay)
    await connection.run(queue)
    await connection.quit()
    return queue.results[1], queue.words[1]


async def bounce_address(office: Office, inside: asyncpg.Connection, delivery: int, recipient: int = 1) -> str:
    """The sender of the mail to one recipient, to which reports come back."""
    secret = await inside.fetchval("SELECT secret FROM mail_secret")
    local = DeliveryTokens(secret, tenant_mark(office.known.uid), delivery, "").bounce(recipient)
    return f"{local}@bounce.example"


@pytest.mark.postgres
async def test_what_comes_back_is_written_down(world: World) -> None:
    senders: list[str] = []
    relay = CountingRelay()
    async with relaying(relay):
        office = await open_office(world, relay, bounce_domain="bounce.example")
        async with office.inside() as inside:
            delivery = await make_delivery(inside, 6)
            await office.send()

            async def address(recipient: int) -> str:
                senders.append(await bounce_address(office, inside, delivery, recipient))
                return senders[-1]

            async with inbound(office) as mx:
                taken = (Outcome.ACCEPTED, "250 2.0.0 taken")
                assert await report(mx, await address(1), dsn()) == taken
                assert await report(mx, await address(1), dsn()) == taken
                assert await report(mx, await address(2), dsn("delayed", "4.4.1")) == taken
                assert await report(mx, await address(3), complaint(), "fbl@provider.example") == taken
                assert await report(mx, await address(4), AWAY, "to4@there.example") == taken
                assert (
                    await report(mx, (await address(5)).upper(), dsn(status="5.2.2", words="smtp; 552 full")) == taken
                )
                assert await report(mx, await address(6), dsn("delivered", "2.0.0", "smtp; 250 ok")) == taken
                forged = (await address(1)).partition("@")[0]
                forged = forged[:-1] + ("b" if forged.endswith("a") else "a")
                wrong = [
                    f"{forged}@bounce.example", "b-x@bounce.example", "info@bounce.example",
                    (await address(1)).replace("bounce.example", "other.example"), f"b-{'a' * 50}@bounce.example",
                ]  # fmt: skip
                for stranger in wrong:
                    assert await report(mx, stranger, dsn()) == (Outcome.REFUSED, "550 5.1.1 no such mailbox")
            rows = {
                row["email"].partition("@")[0]: (row["state"], row["reply"])
                for row in await inside.fetch("SELECT * FROM delivery_recipient")
            }
            assert rows["to1"] == ("bounced", "5.1.1 550 5.1.1 User unknown")
            assert rows["to2"][0] == "accepted"
            assert rows["to3"] == ("accepted", "complaint: abuse")
            assert rows["to4"][0] == "accepted"
            assert rows["to5"] == ("bounced", "5.2.2 552 full")
            assert rows["to6"] == ("accepted", "delivered: 2.0.0 250 ok")
            row = await counts(inside, delivery)
            assert (row["accepted"], row["bounced"], row["unknown"]) == (4, 2, 0)
            listed = {tuple(row) for row in await inside.fetch("SELECT email_key, reason, detail FROM suppression")}
            assert listed == {
                ("to1@there.example", "bounced", "5.1.1 550 5.1.1 User unknown"),
                ("to3@there.example", "complained", "abuse"),
            }
            assert await inside.fetchval("SELECT count(*) FROM audit_entry WHERE action = 'suppression.add'") == 2


@pytest.mark.postgres
async def test_mails_bear_the_bounce_address(world: World) -> None:
    seen: list[bytes] = []

    class Listening(CountingRelay):
        async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            original = reader.readline

            async def readline() -> bytes:
                seen.append(await original())
                return seen[-1]

            reader.readline = readline  # type: ignore[method-assign]
            await super()._session(reader, writer)

    relay = Listening()
    async with relaying(relay):
        office = await open_office(world, relay, bounce_domain="bounce.example")
        async with office.inside() as inside:
            await make_delivery(inside, 3)
            await office.send()
    senders = {line for line in seen if line.startswith(b"MAIL")}
    assert len(senders) == 3
    assert all(line.startswith(b"MAIL FROM:<b-") and line.endswith(b"@bounce.example>\r\n") for line in senders)


@pytest.mark.postgres
async def test_a_database_that_is_away_asks_to_try_later(world: World) -> None:
    relay = CountingRelay()
    async with relaying(relay):
        office = await open_office(world, relay, bounce_domain="bounce.example")
        async with office.inside() as inside:
            delivery = await make_delivery(inside, 1)
            await office.send()
            to = await bounce_address(office, inside, delivery)
        async with inbound(office) as mx, world.server.inside("postgres") as admin:
            await admin.execute(f"ALTER DATABASE {office.tenant.database} ALLOW_CONNECTIONS false")
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", office.tenant.database
            )
            assert (await report(mx, to, dsn()))[0] is Outcome.DEFERRED
            await admin.execute(f"ALTER DATABASE {office.tenant.database} ALLOW_CONNECTIONS true")
            await world.change(office.tenant, state="Maintenance")
            assert (await report(mx, to, dsn()))[0] is Outcome.DEFERRED, "its database is about to be exchanged"
            await world.change(office.tenant, state="Active")
            assert (await report(mx, to, dsn()))[0] is Outcome.ACCEPTED


@pytest.mark.postgres
async def test_after_a_restore_the_key_is_read_again(world: World) -> None:
    """A backup that is older than the first mail holds no key; the next mail makes another one."""
    relay = CountingRelay()
    async with relaying(relay):
        office = await open_office(world, relay, bounce_domain="bounce.example")
        async with office.inside() as inside, inbound(office) as mx:
            delivery = await make_delivery(inside, 1)
            await office.send()

            before = await bounce_address(office, inside, delivery)
            assert (await report(mx, before, dsn("delayed", "4.4.1")))[0] is Outcome.ACCEPTED
            await world.change(office.tenant, state="Maintenance")
            await inside.execute("UPDATE mail_secret SET secret = decode(repeat('ab', 32), 'hex')")
            await world.change(office.tenant, state="Active")
            assert (await report(mx, await bounce_address(office, inside, delivery), dsn()))[0] is Outcome.ACCEPTED
            assert (await counts(inside, delivery))["bounced"] == 1


@pytest.mark.postgres
async def test_a_report_that_is_faster_than_our_own_record_comes_again(world: World) -> None:
    """A relay may return a mail at once; the worker writes down what it took in groups."""
    relay = CountingRelay()
    async with relaying(relay):
        office = await open_office(world, relay, bounce_domain="bounce.example")
        async with office.inside() as inside:
            delivery = await make_delivery(inside, 1)
            await office.send()
            to = await bounce_address(office, inside, delivery)
            async with inbound(office) as mx:
                await inside.execute("UPDATE delivery_recipient SET state = 'sending', next_at = now()")
                await inside.execute("UPDATE delivery SET state = 'sending', accepted = 0")
                assert (await report(mx, to, dsn("delayed", "4.4.1")))[0] is Outcome.ACCEPTED
                assert (await report(mx, to, dsn()))[0] is Outcome.DEFERRED
                await inside.execute("UPDATE delivery_recipient SET state = 'accepted', next_at = NULL")
                await inside.execute("UPDATE delivery SET state = 'done', accepted = 1")
                assert (await report(mx, to, dsn()))[0] is Outcome.ACCEPTED
            row = await counts(inside, delivery)
            assert (row["accepted"], row["bounced"]) == (0, 1)


@pytest.mark.postgres
async def test_before_the_registry_was_read_nobody_is_a_stranger(world: World) -> None:
    parts = world.parts
    boxes = BounceMailboxes("bounce.example", TenantDirectory(), parts.databases.transaction, parts.metrics, utc_now)
    with pytest.raises(TryLater):
        await boxes.knows(DeliveryTokens(b"secret", tenant_mark("uid"), 1, "").bounce(1) + "@bounce.example")


class Boxes:
    """Mailboxes without a database."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, bytes]] = []

    async def knows(self, address: str) -> bool:
        return address.startswith("good")

    async def deliver(self, address: str, data: bytes) -> None:
        if b"later" in data:
            raise TryLater
        self.mails.append((address, data))


@asynccontextmanager
async def talking(boxes: Boxes) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    server = await SmtpServer("mx.example", boxes).start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
    try:
        yield reader, writer
    finally:
        writer.close()
        server.close()


async def dialogue(boxes: Boxes, text: bytes) -> list[bytes]:
    """Everything at once, then what the server said, code by code."""
    async with talking(boxes) as (reader, writer):
        writer.write(text)
        await writer.drain()
        answer = await asyncio.wait_for(reader.read(), 60)
    return [line[:3] for line in answer.split(b"\r\n") if line and line[3:4] == b" "]


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        (b"QUIT\r\n", [b"220", b"221"]),
        (b"MAIL FROM:<>\r\nQUIT\r\n", [b"220", b"503", b"221"]),
        (b"EHLO x\r\nRCPT TO:<good@x>\r\nDATA\r\nQUIT\r\n", [b"220", b"250", b"503", b"503", b"221"]),
        (b"HELO x\r\nMAIL FROM:<>\r\nMAIL FROM:<>\r\nRSET\r\nMAIL FROM:<a@b> SIZE=99999999\r\nQUIT\r\n",
         [b"220", b"250", b"250", b"503", b"250", b"552", b"221"]),
        (b"EHLO x\r\nMAIL FROM:a@b\r\nRCPT TO:<bad@x>\r\nAUTH PLAIN x\r\nQUIT\r\n",
         [b"220", b"250", b"501", b"503", b"500", b"221"]),
        (b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<bad@x>\r\nRCPT TO:<\xff@x>\r\nDATA\r\nQUIT\r\n",
         [b"220", b"250", b"250", b"550", b"501", b"503", b"221"]),
        (b"x\r\n" * 20, [b"220", *[b"503"] * 10, b"421"]),
        (b"x" * 20000 + b"\r\n", [b"220", b"500"]),
    ],
)  # fmt: skip
async def test_dialogues(text: bytes, codes: list[bytes]) -> None:
    boxes = Boxes()
    assert await dialogue(boxes, text) == codes
    assert boxes.mails == []


BEGIN = b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<good@x>\r\nDATA\r\n"


async def test_dots_and_smuggling() -> None:
    boxes = Boxes()
    body = b"..a\r\nb\n.\nMAIL FROM:<evil@x>\r\n\r.\r\n.\n\r\n"
    codes = await dialogue(boxes, BEGIN + body + b".\r\nQUIT\r\n")
    assert codes[-2:] == [b"250", b"221"]
    assert boxes.mails == [("good@x", b".a\r\nb\n.\nMAIL FROM:<evil@x>\r\n\r.\r\n\n\r\n")]


@pytest.mark.parametrize("line", [b"y" * 70 + b"\r\n", b"z" * 100_000 + b"\r\n", b"\r\n"])
async def test_too_big_is_refused_and_the_session_goes_on(line: bytes) -> None:
    boxes = Boxes()
    big = line * (MOST_BYTES // len(line) + 1)
    codes = await dialogue(boxes, BEGIN + big + b".\r\nMAIL FROM:<>\r\nRCPT TO:<good@x>\r\nDATA\r\nok\r\n.\r\nQUIT\r\n")
    assert codes[-5:] == [b"250", b"250", b"354", b"250", b"221"]
    assert codes[-6] == b"552"
    assert boxes.mails == [("good@x", b"ok\r\n")]


async def test_later_and_a_client_that_leaves() -> None:
    boxes = Boxes()
    assert (await dialogue(boxes, BEGIN + b"later\r\n.\r\nQUIT\r\n"))[-2:] == [b"451", b"221"]
    async with talking(boxes) as (_, writer):
        writer.write(BEGIN + b"half")
        await writer.drain()
    assert boxes.mails == []


async def test_too_many_connections() -> None:
    boxes = Boxes()
    server = await SmtpServer("mx.example", boxes).start("127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    opened = [await connect(Relay("127.0.0.1", port)) for _ in range(100)]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert (await reader.readline()).startswith(b"421")
    writer.close()
    assert all(isinstance(one, SmtpConnection) for one in opened)
    for one in opened:
        one.abort()
    server.close()
