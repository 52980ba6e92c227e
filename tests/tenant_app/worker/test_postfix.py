"""Deliveries through a real Postfix, with TLS by its own authority and a log-in: what it takes, puts off, refuses and
returns is written down as what it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from tests.support.postfix import PASSWORD, USER, running_postfix
from tests.tenant_app.mail.tls import make_contexts
from tests.tenant_app.support import World, eventually
from tests.tenant_app.worker.deliveries import (
    CountingRelay,
    Office,
    counts,
    make_delivery,
    open_office,
    relaying,
    states,
)
from tests.tenant_app.worker.test_inbound import inbound

pytestmark = pytest.mark.postgres

ANSWERS = {"to1@there.example": "550 5.1.1 no such user", "to2@there.example": "450 4.2.1 mailbox busy"}
PEOPLE = 20


def beyond(recipient: str) -> bytes:
    """What the server behind Postfix says."""
    return b"550 5.2.1 account closed\r\n" if recipient.startswith("to3@") else b"250 2.1.5 ok\r\n"


@asynccontextmanager
async def through_postfix(world: World, folder: Path) -> AsyncIterator[tuple[Office, CountingRelay]]:
    """A tenant whose worker knows Postfix, and the server that Postfix hands mail over to."""
    _, authority = make_contexts(folder)
    password = folder / "relay-password"
    password.write_text(PASSWORD)
    relay = {"smtp_host": "localhost", "smtp_tls": "starttls", "smtp_ca_file": authority}
    login = {"smtp_user": USER, "smtp_password_file": password, "bounce_domain": "bounce.example"}
    async with relaying(CountingRelay(beyond)) as far:
        office = await open_office(world, far, **relay, **login)
        async with inbound(office) as back:
            routes = {"there.example": far.port, "bounce.example": back.port}
            with running_postfix(folder / "pem", routes=routes, answers=ANSWERS) as postfix:
                office.settings = office.settings.model_copy(update={"smtp_port": postfix.port})
                yield office, far


async def returned(inside: asyncpg.Connection, delivery: int) -> None:
    """Wait until a mail has come back."""
    async with asyncio.timeout(120):
        while True:
            if (await states(inside, delivery)).get("bounced"):
                return
            await asyncio.sleep(0.05)


async def test_taken_put_off_refused_and_returned(world: World, tmp_path: Path) -> None:
    async with through_postfix(world, tmp_path) as (office, far), office.inside() as inside:
        delivery = await make_delivery(inside, PEOPLE)
        await office.send()
        found = await states(inside, delivery)
        assert {**found, "bounced": 0} == {"accepted": PEOPLE - 2, "refused": 1, "deferred": 1, "bounced": 0} or (
            found == {"accepted": PEOPLE - 3, "refused": 1, "deferred": 1, "bounced": 1}
        ), "the mail that is returned may have come back already"

        await returned(inside, delivery)
        await eventually(lambda: len(far.accepted) >= PEOPLE - 3)
        rows = {
            row["email"].partition("@")[0]: (row["state"], row["reply"], row["next_at"] is not None)
            for row in await inside.fetch("SELECT * FROM delivery_recipient")
        }
        assert rows["to1"][::2] == ("refused", False)
        assert rows["to1"][1].startswith("550 5.1.1 ")
        assert rows["to1"][1].endswith("no such user")
        assert rows["to2"][::2] == ("deferred", True)
        assert rows["to2"][1].startswith("450 4.2.1 ")
        # A report as Postfix words it (RFC 3464), by way of the sender that only this mail has.
        assert rows["to3"] == ("bounced", "5.2.1 550 5.2.1 account closed", False)
        assert rows["to4"][1].startswith("250 2.0.0 Ok: queued as ")
        assert set(far.accepted.values()) == {1}
        listed = {row[0] for row in await inside.fetch("SELECT email_key FROM suppression")}
        assert listed <= {"to1@there.example", "to3@there.example"}
        row = await counts(inside, delivery)
        assert (row["refused"], row["bounced"], row["unknown"]) == (1, 1, 0)


async def test_without_a_log_in_the_delivery_stands_still_and_blames_nobody(world: World, tmp_path: Path) -> None:
    async with through_postfix(world, tmp_path) as (office, far), office.inside() as inside:
        office.settings = office.settings.model_copy(update={"smtp_user": "", "smtp_password_file": None})
        delivery = await make_delivery(inside, PEOPLE, domain="elsewhere.example")
        await office.send()
        row = await counts(inside, delivery)
        assert (row["state"], row["state_reason"]) == ("paused", "sender_refused")
        assert await states(inside, delivery) == {"queued": PEOPLE}
        assert far.accepted.total() == 0
