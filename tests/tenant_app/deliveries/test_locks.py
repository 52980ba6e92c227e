"""Two transactions about one delivery at the same moment: they wait for each other in one order, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from elink_app.accounts.permissions import ALL, Principal
from elink_app.audit.service import Actor
from elink_app.clock import utc_now
from elink_app.deliveries.bounces import apply_report
from elink_app.deliveries.running import Running
from elink_app.deliveries.sending import Result, Sending
from elink_app.deliveries.service import Deliveries
from elink_app.deliveries.states import RecipientState
from elink_app.mail.reports import Report, ReportKind
from elink_app.mail.tokens import DeliveryTokens, RecipientIds
from elink_app.templates.service import Templates
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from tests.tenant_app.deliveries.support import Office
from tests.tenant_app.support import eventually

pytestmark = pytest.mark.postgres

SECRET = b"s" * 32
MASTER = Principal(1, "master@x.example", "", True, ALL, None)
LOCK_ONE = text("SELECT FROM delivery_recipient WHERE delivery_id = :delivery AND id = :id FOR UPDATE")
ACTOR = Actor(1, "master@x.example", "")


@asynccontextmanager
async def transaction(office: Office) -> AsyncIterator[AsyncSession]:
    tenant = office.world.parts.directory.get(office.tenant.name)
    assert tenant is not None
    async with office.world.parts.databases.transaction(tenant) as db:
        yield db


def running(office: Office, db: AsyncSession) -> Running:
    tenant = office.world.parts.directory.get(office.tenant.name)
    assert tenant is not None
    templates = Templates(db, tenant, utc_now, "https://x.example")
    return Running(Deliveries(db, utc_now, "https://x.example", MASTER, templates))


async def done_or_waits(office: Office, task: asyncio.Task[object]) -> None:
    """Until the task is over, or its transaction waits for another one's lock."""
    waits = False

    async def look() -> None:
        nonlocal waits
        while not task.done():
            found = await office.sql(
                "SELECT count(*) AS n FROM pg_stat_activity "
                "WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if waits := found[0]["n"] > 0:
                return
            await asyncio.sleep(0.01)

    looking = asyncio.create_task(look())
    await eventually(lambda: looking.done())
    await looking


async def under_way(office: Office, state: str = "sending") -> tuple[int, dict[str, int]]:
    """A delivery that is being sent, and its recipients' ids by e-mail."""
    made = await office.ready()
    await office.call("POST", f"/deliveries/{made['id']}/release", json={"when": "now"})
    await office.sql("UPDATE delivery SET state = $1, started_at = now() WHERE id = $2", state, made["id"])
    await office.sql("INSERT INTO mail_secret (id, secret) VALUES (1, $1) ON CONFLICT DO NOTHING", SECRET)
    rows = await office.sql("SELECT id, email FROM delivery_recipient WHERE delivery_id = $1", made["id"])
    return made["id"], {row["email"]: row["id"] for row in rows}


async def opt_out(office: Office, delivery: int, recipient: int) -> int:
    token = DeliveryTokens(SECRET, b"", delivery, "").unsubscribe(recipient)
    visitor = office.world.browser(office.tenant.host).client
    return (await visitor.post(f"/unsubscribe/{token}", data={"choice": "all"})).status_code


async def states(office: Office, delivery: int) -> dict[str, tuple[str, str]]:
    rows = await office.sql("SELECT email, state, reply FROM delivery_recipient WHERE delivery_id = $1", delivery)
    return {row["email"]: (row["state"], row["reply"]) for row in rows}


async def test_a_delivery_is_cancelled_while_a_recipient_opts_out(office: Office) -> None:
    delivery, people = await under_way(office)
    async with transaction(office) as db:
        work = running(office, db)
        await work._deliveries.load(delivery, lock=True)
        leaving = asyncio.create_task(opt_out(office, delivery, people["taro@a.example"]))
        await done_or_waits(office, leaving)
        await work.cancel(ACTOR, delivery)
    assert await leaving == 303
    assert set((await states(office, delivery)).values()) == {("skipped", "cancelled")}
    counts = (await office.call("GET", f"/deliveries/{delivery}"))["counts"]
    assert (counts["skipped"], counts["pending"]) == (2, 0)
    assert len(await office.sql("SELECT id FROM suppression WHERE email_key = 'taro@a.example'")) == 1


async def test_a_delivery_is_cancelled_while_a_worker_takes_a_batch(office: Office) -> None:
    delivery, _ = await under_way(office)
    async with transaction(office) as db:
        sending = Sending(db)
        rows = await sending.claim(delivery, 1, utc_now())
        pressed = asyncio.create_task(office.call("POST", f"/deliveries/{delivery}/cancel"))
        await done_or_waits(office, pressed)
        unwanted = [Result(row.id, row.attempts, RecipientState.SKIPPED, "suppressed") for row in rows]
        await sending.record(delivery, unwanted, utc_now())
    assert (await pressed)["state"] == "cancelled"
    assert sorted((await states(office, delivery)).values()) == [("skipped", "cancelled"), ("skipped", "suppressed")]
    assert (await office.call("GET", f"/deliveries/{delivery}"))["counts"]["skipped"] == 2


async def test_somebody_opts_out_while_a_worker_takes_the_mail(office: Office) -> None:
    """The mail is in the worker's hands; the same person's mail in another delivery is not."""
    delivery, people = await under_way(office)
    other, _ = await under_way(office)
    async with transaction(office) as db:
        sending = Sending(db)
        rows = await sending.claim(delivery, 2, utc_now())
        leaving = asyncio.create_task(opt_out(office, delivery, people["taro@a.example"]))
        await done_or_waits(office, leaving)
        unwanted = [Result(row.id, row.attempts, RecipientState.SKIPPED, "no_consent") for row in rows]
        await sending.record(delivery, unwanted, utc_now())
    assert await leaving == 303
    assert (await states(office, other))["taro@a.example"] == ("skipped", "suppressed")
    for one, number in ((delivery, 2), (other, 1)):
        assert (await office.call("GET", f"/deliveries/{one}"))["counts"]["skipped"] == number


async def test_mails_are_sent_again_while_a_report_about_one_comes_in(office: Office) -> None:
    delivery, people = await under_way(office, "done")
    await office.sql("UPDATE delivery_recipient SET state = 'unknown', next_at = NULL")
    await office.sql("UPDATE delivery SET unknown = 2, finished_at = now()")
    ids = RecipientIds(delivery, people["taro@a.example"])
    async with transaction(office) as db:
        # What the report's statement does first.
        await db.execute(LOCK_ONE, {"delivery": delivery, "id": ids.recipient_id})
        pressed = asyncio.create_task(
            office.call("POST", f"/deliveries/{delivery}/resend-unknown", json={"typed_count": 2})
        )
        await done_or_waits(office, pressed)
        await apply_report(db, ids, Report(ReportKind.FAILED, "5.1.1", "no such user"), utc_now())
    await pressed
    assert (await states(office, delivery))["hanako@b.example"] == ("queued", "")
    assert (await states(office, delivery))["taro@a.example"][0] == "bounced"
    counts = (await office.call("GET", f"/deliveries/{delivery}"))["counts"]
    assert (counts["unknown"], counts["bounced"], counts["pending"]) == (0, 1, 1)
