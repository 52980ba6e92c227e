"""A restored database sends nothing by itself: every state of a delivery, single mails, and who may go on."""

from __future__ import annotations

import pytest
from elink_app.deliveries.states import DeliveryState
from elink_app.outbox.repository import OutboxRepository
from elink_app.outbox.service import enqueue

from tests.tenant_app.deliveries.support import Office
from tests.tenant_app.worker.deliveries import CountingRelay, counts, make_delivery, open_office, relaying

pytestmark = pytest.mark.postgres

PAUSED = ("paused", "restored")
AFTER = {
    DeliveryState.DRAFT: ("draft", "restored"),
    DeliveryState.AWAITING_APPROVAL: ("awaiting_approval", "restored"),
    DeliveryState.APPROVED: ("approved", "restored"),
    DeliveryState.SCHEDULED: PAUSED,
    DeliveryState.HOLDING: PAUSED,
    DeliveryState.SENDING: PAUSED,
    DeliveryState.PAUSED: PAUSED,
    DeliveryState.DONE: ("done", ""),
    DeliveryState.CANCELLED: ("cancelled", ""),
}


async def disarm(office: Office) -> tuple[int, int]:
    """As the restore's Job does it: with the tenant's own role and nothing more."""
    tenant = office.tenant
    connection = await office.world.server.postgres.connect(tenant.database, user=tenant.role, password=tenant.password)
    try:
        return tuple(await connection.fetchrow("SELECT deliveries, mails FROM elink_disarm()"))
    finally:
        await connection.close()


async def test_every_state_and_every_mail(office: Office) -> None:
    assert set(AFTER) == set(DeliveryState)
    made = {state: (await office.draft(name=state.value))["id"] for state in DeliveryState}
    for state, number in made.items():
        await office.sql("UPDATE delivery SET state = $2 WHERE id = $1", number, state.value)
    known = office.world.parts.directory.get(office.tenant.name)
    assert known is not None
    async with office.world.parts.databases.transaction(known) as db:
        await enqueue(db, to="a@b.example", subject="招待", text="https://x.example/one-time", kind="invitation")
    waiting = (await office.sql("SELECT count(*) FROM outbox_mail WHERE done_at IS NULL"))[0][0]
    assert await disarm(office) == (4, waiting)
    for state, number in made.items():
        row = (await office.sql("SELECT state, state_reason FROM delivery WHERE id = $1", number))[0]
        assert tuple(row) == AFTER[state], state
    assert await disarm(office) == (0, 0)
    mails = await office.sql("SELECT sent, error, text_body FROM outbox_mail")
    assert {tuple(row) for row in mails if row["error"]} == {(False, "restored", "")}
    async with office.world.parts.databases.transaction(known) as db:
        now = (await office.sql("SELECT now() + interval '1 day' AS at"))[0]["at"]
        assert await OutboxRepository(db).claim(now, now) is None


async def test_mails_that_were_sent_after_the_backup_name_nobody(office: Office) -> None:
    """Their numbers are in links to opt out: a later recipient must not be taken for theirs."""
    before = (await office.ready())["id"]
    sent = "SELECT coalesce(max(id), 0) FROM delivery_recipient"
    last = (await office.sql(sent))[0][0]
    await disarm(office)
    after = await office.ready()
    await office.call("POST", f"/deliveries/{after['id']}/release", json={"when": "now"})
    first = (await office.sql("SELECT min(id) FROM delivery_recipient WHERE delivery_id = $1", after["id"]))[0][0]
    assert after["id"] > before + 1_000_000
    assert first > last + 1_000_000_000


async def test_going_on_asks_first(office: Office) -> None:
    made = await office.ready()
    path = f"/deliveries/{made['id']}"
    await office.call("POST", f"{path}/release", json={"when": "now"})
    assert await disarm(office) == (1, 0)
    page = (await office.me.get(path)).text
    assert "復元されたため停止中" in page
    assert "二重に届くことがあります" in page
    english = await office.me.client.get(path, headers={"Accept-Language": "en", "Cookie": "__Host-elink-language=en"})
    assert "state_reason" not in english.text
    for body in (None, {}, {"accept_repeats": False}):
        refused = await office.call("POST", f"{path}/resume", 409, json=body)
        assert refused["type"].endswith("/delivery-restored")
    await office.call("POST", f"{path}/resume", 422, json={"accept_repeats": True, "more": 1})
    answer = await office.me.post(f"{path}/resume", {}, page=path)
    assert answer.status_code == 409
    assert (await office.call("GET", path))["state_reason"] == "restored"
    answer = await office.me.post(f"{path}/resume", {"accept_repeats": "1"}, page=path)
    assert answer.status_code == 303
    gone_on = await office.call("GET", path)
    assert (gone_on["state"], gone_on["state_reason"]) == ("sending", "")
    await office.call("POST", f"{path}/pause", json={})
    assert (await office.call("POST", f"{path}/resume", json={}))["state"] == "sending", (
        "an ordinary pause asks nothing"
    )


async def test_the_worker_sends_nothing_until_somebody_goes_on(office: Office) -> None:
    async with relaying(CountingRelay()) as relay:
        sender = await open_office(office.world, relay)
        async with sender.inside() as inside:
            delivery = await make_delivery(inside, 5)
            await inside.fetch("SELECT * FROM elink_disarm()")
            await sender.send()
            assert relay.accepted.total() == 0
            await inside.execute("UPDATE delivery SET state = 'sending', state_reason = ''")
            await sender.send()
            assert relay.accepted.total() == 5
            assert (await counts(inside, delivery))["state"] == "done"
