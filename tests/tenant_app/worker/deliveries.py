"""Deliveries for tests: rows as the pages write them, a relay that counts, and the worker's task in this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg
from elink_app.clock import utc_now
from elink_app.ops.servers import Stop
from elink_app.registry.tenant import Tenant
from elink_app.settings import Settings
from elink_app.worker.deliveries import DeliverySender
from elink_operator.database.model import TenantDb

from tests.tenant_app.support import World

INSERT = """
INSERT INTO delivery (name, category, state, subject, text_body, html_body, from_name, from_address, fields,
    frozen_at, started_at, total, resend_unknown)
VALUES ('案内', 'advert', 'sending', '{{氏名|お客様}}様', '{{氏名|お客様}} 様 {{配信停止URL}}',
    '<p>{{氏名|お客様}} 様</p>', 'さくら商店', 'info@sakura.example', '{氏名}', now(), now(), $1, $2) RETURNING id
"""
RECIPIENTS = """
INSERT INTO delivery_recipient (delivery_id, email, email_key, slots, next_at)
SELECT $1, 'to' || n || '@' || $3, 'to' || n || '@' || $3, jsonb_build_array('名前' || n), now() - interval '1 second'
FROM generate_series(1, $2) n
"""


async def make_delivery(
    inside: asyncpg.Connection, count: int, *, domain: str = "there.example", resend_unknown: bool = False
) -> int:
    """A delivery that is to be sent to `count` people now."""
    delivery: int = await inside.fetchval(INSERT, count, resend_unknown)
    await inside.execute(RECIPIENTS, delivery, count, domain)
    return delivery


async def states(inside: asyncpg.Connection, delivery: int) -> dict[str, int]:
    """How many recipients are in each state."""
    rows = await inside.fetch(
        "SELECT state, count(*) FROM delivery_recipient WHERE delivery_id = $1 GROUP BY state", delivery
    )
    return {row[0]: row[1] for row in rows}


async def counts(inside: asyncpg.Connection, delivery: int) -> dict[str, Any]:
    """The delivery's own row."""
    return dict(await inside.fetchrow("SELECT * FROM delivery WHERE id = $1", delivery))


@dataclass
class CountingRelay:
    """A relay that remembers every mail it took. `answer(recipient)` may refuse at RCPT; `delay` is thinking time.
    What is larger than `most_bytes` is refused as Postfix does.

    While `answering` is not set it takes mails and says nothing about it.
    """

    answer: Callable[[str], bytes] = lambda _recipient: b"250 2.1.5 ok\r\n"
    most_bytes: int = 1 << 22
    delay: float = 0.0
    accepted: Counter[str] = field(default_factory=Counter)
    bodies: list[bytes] = field(default_factory=list)
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    open: int = 0
    most_open: int = 0

    def __post_init__(self) -> None:
        self.answering.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._session(reader, writer)
        self.open -= 1
        writer.close()

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 counting\r\n")
        recipient = ""
        taken = False
        while line := await reader.readline():
            word = line[:4].upper()
            if word == b"EHLO":
                writer.write(b"250-counting\r\n250 PIPELINING\r\n")
            elif word == b"RCPT":
                recipient = line.split(b"<")[1].split(b">")[0].decode()
                reply = self.answer(recipient)
                taken = reply.startswith(b"2")
                writer.write(reply)
            elif word == b"DATA" and not taken:
                writer.write(b"503 5.5.1 no recipient\r\n")
            elif word == b"DATA":
                writer.write(b"354 go\r\n")
                body = await reader.readuntil(b"\r\n.\r\n")
                if self.delay:
                    await asyncio.sleep(self.delay)
                if len(body) > self.most_bytes:
                    writer.write(b"552 5.3.4 Error: message file too big\r\n")
                    continue
                self.accepted[recipient] += 1
                self.bodies.append(body)
                await self.answering.wait()
                writer.write(b"250 2.0.0 queued as %d\r\n" % self.accepted.total())
            else:
                writer.write(b"250 ok\r\n")


@asynccontextmanager
async def relaying(relay: CountingRelay) -> AsyncIterator[CountingRelay]:
    """The relay on loopback."""
    server = await asyncio.start_server(relay.serve, "127.0.0.1", relay.port, limit=1 << 22)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()


@dataclass
class Office:
    """A tenant of a world, and the worker that sends for it."""

    world: World
    tenant: TenantDb
    settings: Settings
    clock: Callable[[], datetime] = utc_now
    stop: Stop = field(default_factory=Stop)

    @property
    def known(self) -> Tenant:
        found = self.world.parts.directory.get(self.tenant.name)
        assert found is not None
        return found

    def sender(self) -> DeliverySender:
        parts = self.world.parts
        return DeliverySender(
            self.settings, parts.directory, parts.databases, parts.registry, parts.metrics, self.clock
        )

    async def send(self, timeout: float = 60) -> None:
        """One run of the task."""
        sender = self.sender()
        try:
            await asyncio.wait_for(sender.run(self.known, self.stop), timeout)
        finally:
            await sender.close()

    @asynccontextmanager
    async def inside(self) -> AsyncIterator[asyncpg.Connection]:
        async with self.world.server.inside(self.tenant.database) as connection:
            yield connection


async def open_office(world: World, relay: CountingRelay, **changes: object) -> Office:
    """A new tenant whose worker knows the relay."""
    limits = changes.pop("limits", {"addresses": 1000})
    tenant = await world.tenant(limits=limits)
    options = {"smtp_host": "127.0.0.1", "smtp_port": relay.port, "smtp_connections": 4, **changes}
    return Office(world, tenant, world.server.settings.model_copy(update=options))
