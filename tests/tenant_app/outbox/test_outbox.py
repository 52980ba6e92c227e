"""Single mails: sent over real SMTP, kept while the relay is away, gone when they expired or were refused."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from elink_app.clock import utc_now
from elink_app.mail.smtp import Relay as SmtpRelay
from elink_app.ops.servers import Stop
from elink_app.outbox import sender
from elink_app.outbox.sender import OutboxSender, back_off
from elink_app.outbox.service import enqueue
from elink_app.registry.connection import RegistryConnection
from elink_app.registry.tenant import Tenant
from elink_app.registry.wakeups import Wakeups
from elink_app.worker.tasks import TaskRunner

from tests.support.ports import free_port
from tests.tenant_app.mail.tls import make_contexts
from tests.tenant_app.support import World, eventually

pytestmark = pytest.mark.postgres


@dataclass
class Relay:
    """A real SMTP server; `answer` is what it says after a message."""

    port: int
    answer: str = "250 kept"
    mails: list[EmailMessage] = field(default_factory=list)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.mails.append(message)
        return self.answer


@asynccontextmanager
async def relay() -> AsyncIterator[Relay]:
    made = Relay(free_port())
    controller = Controller(made, hostname="127.0.0.1", port=made.port, ready_timeout=60)
    controller.start()
    try:
        yield made
    finally:
        controller.stop()


class Clock:
    """A clock that tests put forward."""

    def __init__(self) -> None:
        self.now = utc_now()

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Bench:
    world: World
    tenant: Tenant
    clock: Clock

    async def put(self, **changes: Any) -> int:
        values: dict[str, Any] = {"to": "aya@example.jp", "subject": "ご招待", "text": "こんにちは", "kind": "test"}
        async with self.world.parts.databases.transaction(self.tenant) as db:
            number = await enqueue(db, **(values | changes))
        self.clock.now = max(self.clock.now, utc_now())
        return number

    def sender(self, port: int) -> OutboxSender:
        settings = self.world.server.settings.model_copy(update={"smtp_host": "127.0.0.1", "smtp_port": port})
        return OutboxSender(settings, self.world.parts.databases, self.clock)

    async def send(self, port: int) -> None:
        assert await self.sender(port).run(self.tenant, Stop()) is False

    async def send_by(self, relay: SmtpRelay) -> None:
        settings = self.world.server.settings.model_copy(update={"smtp_host": relay.host})
        await OutboxSender(settings, self.world.parts.databases, self.clock, relay).run(self.tenant, Stop())

    async def row(self, number: int) -> asyncpg.Record:
        async with self.world.server.inside(self.tenant.database) as inside:
            row = await inside.fetchrow("SELECT * FROM outbox_mail WHERE id = $1", number)
        assert row is not None
        return row


@pytest.fixture
async def bench(world: World) -> Bench:
    made = await world.tenant(mail={"from": "info@sakura.example", "replyTo": "reply@sakura.example"})
    tenant = world.parts.directory.get(made.name)
    assert tenant is not None
    return Bench(world, tenant, Clock())


async def test_a_mail_arrives_whole_and_its_texts_are_forgotten(bench: Bench) -> None:
    number = await bench.put(html="<p>こんにちは</p>", headers={"X-Elink-Kind": "invitation"})
    async with relay() as server:
        await bench.send(server.port)
        await bench.send(server.port)
        (mail,) = server.mails
    assert (mail["Subject"], mail["To"], mail["From"]) == ("ご招待", "aya@example.jp", "info@sakura.example")
    assert (mail["Reply-To"], mail["X-Elink-Kind"]) == ("reply@sakura.example", "invitation")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert bench.tenant.host in mail["Message-ID"]
    plain, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None
    assert html is not None
    assert plain.get_content().strip() == "こんにちは"
    row = await bench.row(number)
    assert (row["sent"], row["text_body"], row["html_body"], row["headers"]) == (True, "", "", "{}")


async def test_without_tls_no_authority_is_read(bench: Bench, tmp_path: Path) -> None:
    number = await bench.put()
    async with relay() as server:
        await bench.send_by(SmtpRelay("127.0.0.1", server.port, authority=tmp_path / "missing"))
    assert (await bench.row(number))["sent"]


async def test_a_relay_that_is_away_delays_and_loses_nothing(bench: Bench) -> None:
    number = await bench.put()
    await bench.send(free_port())
    row = await bench.row(number)
    assert row["done_at"] is None
    assert row["next_at"] - bench.clock.now == back_off(1)
    async with relay() as server:
        await bench.send(server.port)
        assert server.mails == []
        bench.clock.now += timedelta(minutes=1)
        await bench.send(server.port)
        assert len(server.mails) == 1


@pytest.mark.parametrize(("answer", "done"), [("451 busy", False), ("554 no", True)])
async def test_a_refusal_for_now_is_repeated_and_one_for_good_is_not(bench: Bench, answer: str, done: bool) -> None:
    number = await bench.put()
    async with relay() as server:
        server.answer = answer
        await bench.send(server.port)
    row = await bench.row(number)
    assert (row["done_at"] is not None, row["sent"]) == (done, False)
    assert answer[4:] in row["error"]


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_single_mails_take_the_road_of_deliveries(
    bench: Bench, tmp_path: Path, tls: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS as demanded, with the log-in; a wrong password, a wrong name or no TLS delays a mail and ends it not."""
    server_side, authority = make_contexts(tmp_path)
    kept = Relay(free_port())

    def check(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (b"user", b"secret"), handled=False)

    options: dict[str, Any] = {"authenticator": check, "auth_required": True, "ready_timeout": 60}
    if tls == "implicit":
        controller = Controller(
            kept, hostname="127.0.0.1", port=kept.port, ssl_context=server_side, auth_require_tls=False, **options
        )
    else:
        controller = Controller(
            kept, hostname="127.0.0.1", port=kept.port, tls_context=server_side, require_starttls=True, **options
        )
    good = SmtpRelay("localhost", kept.port, tls, "user", "secret", authority=authority)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, controller.start)
    try:
        for wrong in (
            replace(good, password="not it"),
            replace(good, host="127.0.0.1"),
            replace(good, authority=None),
            replace(good, tls="off"),
            replace(good, tls="off", user=""),
        ):
            number = await bench.put()
            with monkeypatch.context() as patch:
                if wrong.tls == "off":
                    # A server that waits for a handshake says nothing.
                    patch.setattr(sender, "_TIMEOUT", 3)
                await bench.send_by(wrong)
            row = await bench.row(number)
            assert (row["done_at"], kept.mails) == (None, []), wrong
            assert row["error"]
            assert "not it" not in row["error"]
        bench.clock.now += timedelta(minutes=5)
        await bench.send_by(good)
        assert len(kept.mails) == 5
    finally:
        await loop.run_in_executor(None, controller.stop)


async def test_what_expired_is_not_sent(bench: Bench) -> None:
    number = await bench.put(expires_at=bench.clock.now + timedelta(hours=1))
    bench.clock.now += timedelta(hours=2)
    async with relay() as server:
        await bench.send(server.port)
        assert server.mails == []
    assert (await bench.row(number))["error"] == "not sent before it expired"


async def test_a_mail_whose_sender_died_goes_out_after_the_lease(bench: Bench) -> None:
    await bench.put()
    async with bench.world.server.inside(bench.tenant.database) as inside:
        await inside.execute(
            "UPDATE outbox_mail SET attempts = 1, next_at = $1", bench.clock.now + timedelta(minutes=5)
        )
    async with relay() as server:
        await bench.send(server.port)
        assert server.mails == []
        bench.clock.now += timedelta(minutes=6)
        await bench.send(server.port)
        assert len(server.mails) == 1


@pytest.mark.parametrize("field", ["to", "subject"])
async def test_line_breaks_in_headers_are_refused(bench: Bench, field: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        await bench.put(**{field: "a@example.jp\r\nBcc: b@example.jp"})


async def test_a_wake_up_starts_the_work_at_once(bench: Bench) -> None:
    world = bench.world
    async with relay() as server:
        settings = world.server.settings.model_copy(update={"task_look_seconds": 3600})
        sender = bench.sender(server.port)
        runner = TaskRunner(
            settings, world.parts.directory, world.parts.wakeups, [sender], world.parts.metrics, utc_now
        )
        stop = Stop()
        running = asyncio.create_task(runner.run(stop))
        outcome = world.parts.metrics.worker_tasks.labels("outbox", "success")._value
        # The first look at every tenant of this server, ours among them: from now on only a hint makes it look again.
        await eventually(lambda: outcome.get() >= len(world.parts.directory.all()))
        await bench.put()
        await world.parts.wakeups.wake(bench.tenant.name)
        await eventually(lambda: len(server.mails) == 1)
        stop.now()
        await asyncio.wait_for(running, 60)
        assert runner.is_alive()
        assert bench.tenant.name not in await world.parts.wakeups.due(utc_now()), "a hint is taken once"


async def test_wake_ups_of_the_future_wait(bench: Bench) -> None:
    later = utc_now() + timedelta(hours=1)
    await bench.world.parts.wakeups.wake(bench.tenant.name, later)
    assert bench.tenant.name not in await bench.world.parts.wakeups.due(utc_now())
    assert bench.tenant.name in await bench.world.parts.wakeups.due(later)


async def test_a_registry_that_is_away_is_no_error(world: World) -> None:
    lost = Wakeups(RegistryConnection(world.server.settings.model_copy(update={"db_port": free_port()})))
    await lost.wake("nobody")
    assert await lost.due(utc_now()) == []
