"""Deliveries from claim to end, with a real PostgreSQL and a relay on loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import dkim
import pytest
from elink_app.clock import utc_now
from elink_app.deliveries.sending import Result, Sending
from elink_app.deliveries.states import RecipientState
from elink_app.mail.dkim import dns_record, new_private_pem
from elink_app.registry.tenant import Tenant
from elink_app.worker.journal import Journal, journals
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from tests.support.ports import free_port
from tests.tenant_app.support import World, eventually
from tests.tenant_app.worker.deliveries import CountingRelay, counts, make_delivery, open_office, relaying, states

pytestmark = pytest.mark.postgres


async def test_everybody_gets_one_mail_and_the_record_is_exact(world: World) -> None:
    async with relaying(CountingRelay()) as relay:
        office = await open_office(world, relay)
        async with office.inside() as inside:
            delivery = await make_delivery(inside, 1200)
            await office.send()
            assert relay.accepted == {f"to{n}@there.example": 1 for n in range(1, 1201)}
            assert await states(inside, delivery) == {"accepted": 1200}
            row = await counts(inside, delivery)
            assert (row["state"], row["accepted"], row["unknown"]) == ("done", 1200, 0)
            assert row["finished_at"] is not None
            kept = await inside.fetchrow("SELECT * FROM delivery_recipient WHERE email_key = 'to7@there.example'")
            assert kept["reply"].startswith("250 2.0.0 queued as ")
            assert (kept["attempts"], kept["next_at"]) == (1, None)
            await office.send()
            assert relay.accepted.total() == 1200
    assert relay.most_open <= 4
    assert list(office.settings.journals.iterdir()) == []


async def test_refused_deferred_suppressed_and_impossible(world: World) -> None:
    def answer(recipient: str) -> bytes:
        return {"to1": b"550 5.1.1 no such user\r\n", "to2": b"450 4.2.2 mailbox full\r\n"}.get(
            recipient.partition("@")[0], b"250 ok\r\n"
        )

    async with relaying(CountingRelay(answer)) as relay:
        office = await open_office(world, relay)
        async with office.inside() as inside:
            delivery = await make_delivery(inside, 6)
            await inside.execute(
                "INSERT INTO suppression (email_key, reason, since) VALUES ('to3@there.example', 'unsubscribed', now())"
            )
            await inside.execute("UPDATE delivery_recipient SET email = 'bad' || chr(10) || '@x.example' WHERE id = 4")
            await office.send()
            rows = {
                row["id"]: (row["state"], row["reply"], row["next_at"] is not None)
                for row in await inside.fetch("SELECT * FROM delivery_recipient")
            }
            assert rows[1] == ("refused", "550 5.1.1 no such user", False)
            assert rows[2] == ("deferred", "450 4.2.2 mailbox full", True)
            assert rows[3] == ("skipped", "suppressed", False)
            assert rows[4] == ("refused", "bad_address", False)
            assert rows[5][0] == rows[6][0] == "accepted"
            row = await counts(inside, delivery)
            assert row["state"] == "sending", "a deferred mail is still to come"
            assert [row[name] for name in ("accepted", "refused", "skipped", "unknown")] == [2, 2, 1, 0]
            relay.answer = lambda _recipient: b"250 ok\r\n"
            office.clock = lambda: utc_now() + timedelta(minutes=2)
            await office.send()
            row = await counts(inside, delivery)
            assert (row["state"], row["accepted"]) == ("done", 3)
            async with world.server.inside("elink_registry") as registry:
                wanted = "SELECT count(*) FROM delivery_wakeup WHERE tenant = $1"
                assert await registry.fetchval(wanted, office.tenant.name) == 1


async def test_whoever_withdraws_consent_after_the_freezing_gets_no_advert_but_still_notices(world: World) -> None:
    async with relaying(CountingRelay()) as relay:
        office = await open_office(world, relay)
        async with office.inside() as inside:
            delivery = await make_delivery(inside, 4)
            for name, kind in (("to1", "given"), ("to1", "withdrawn"), ("to2", "withdrawn"), ("to2", "given")):
                await inside.execute(
                    "INSERT INTO consent (email_key, kind, at) VALUES ($1, $2, now())", f"{name}@there.example", kind
                )
            await office.send()
            kept = {row["id"]: (row["state"], row["reply"]) for row in await recipients(inside, delivery)}
            assert kept[1] == ("skipped", "no_consent")
            assert {kept[n][0] for n in (2, 3, 4)} == {"accepted"}
            row = await counts(inside, delivery)
            assert (row["state"], row["accepted"], row["skipped"]) == ("done", 3, 1)
            notice = await make_delivery(inside, 2)
            await inside.execute("UPDATE delivery SET category = 'notice' WHERE id = $1", notice)
            await office.send()
            assert await states(inside, notice) == {"accepted": 2}


async def test_a_consent_that_was_taken_back_as_a_mistake_since_the_freezing_carries_no_advert(world: World) -> None:
    """An import with consents is undone while the delivery waits for its moment."""
    async with relaying(CountingRelay()) as relay:
        office = await open_office(world, relay)
        async with office.inside() as inside:
            delivery = await make_delivery(inside, 3)
            given = "INSERT INTO consent (email_key, kind, at) VALUES ($1, 'given', now()) RETURNING id"
            back = "INSERT INTO consent (email_key, kind, at, retracts) VALUES ($1, 'retracted', now(), $2)"
            for name in ("to1", "to2"):
                key = f"{name}@there.example"
                mistake = await inside.fetchval(given, key)
                if name == "to2":
                    await inside.execute(given, key)
                await inside.execute(back, key, mistake)
            await office.send()
            kept = {row["id"]: (row["state"], row["reply"]) for row in await recipients(inside, delivery)}
            assert kept[1] == ("skipped", "no_consent")
            assert {kept[n][0] for n in (2, 3)} == {"accepted"}, "what else is on record counts on"


async def recipients(inside: asyncpg.Connection, delivery: int) -> list[asyncpg.Record]:
    """Rows with ids that count from 1."""
    first = "SELECT min(id) FROM delivery_recipient WHERE delivery_id = $1"
    wanted = f"SELECT id - ({first}) + 1 AS id, state, reply FROM delivery_recipient WHERE delivery_id = $1"
    return list(await inside.fetch(wanted, delivery))


async def test_who_died_in_the_commit_of_a_claim_keeps_nobody_waiting_and_frees_no_other_claim(world: World) -> None:
    """One claim was committed and is given back; of another, rolled back, a living process has taken the rows since."""
    async with relaying(CountingRelay()) as relay:
        office = await open_office(world, relay)
        async with office.inside() as inside:
            delivery = await make_delivery(inside, 10)
            moment = utc_now()
            dead = Journal(office.settings.journals)
            async with world.parts.databases.transaction(office.known) as db:
                committed = await Sending(db).claim(delivery, 6, moment)
                pairs = [(row.id, row.attempts) for row in committed]
                dead.claiming(office.tenant.name, delivery, pairs, moment)
            async with world.parts.databases.transaction(office.known) as db:
                others = await Sending(db).claim(delivery, 4, moment + timedelta(milliseconds=1))
            dead.claiming(office.tenant.name, delivery, [(row.id, row.attempts) for row in others], moment)
            dead.close()
            await office.send()
            assert await states(inside, delivery) == {"accepted": 6, "sending": 4}
            assert relay.accepted == {row.email: 1 for row in committed}


async def test_what_is_rolled_back_was_neither_claimed_nor_recorded(world: World) -> None:
    async with relaying(CountingRelay()) as relay:
        office = await open_office(world, relay)
        async with office.inside() as inside:
            delivery, now = await make_delivery(inside, 3), utc_now()
            transaction = world.parts.databases.transaction
            async with transaction(office.known) as db:
                assert len(await Sending(db).claim(delivery, 1, now)) == 1
                await db.rollback()
            assert await states(inside, delivery) == {"queued": 3}
            async with transaction(office.known) as db:
                [row] = await Sending(db).claim(delivery, 1, now)
            async with transaction(office.known) as db:
                result = Result(row.id, row.attempts, RecipientState.ACCEPTED)
                assert await Sending(db).record(delivery, [result], now) == 1
                await db.rollback()
            assert await states(inside, delivery) == {"queued": 2, "sending": 1}


async def test_a_claim_whose_commit_was_not_answered_ends_as_sent_not_as_unknown(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, lost = world.parts.databases.transaction, []

    @asynccontextmanager
    async def losing_one_answer(tenant: Tenant) -> AsyncIterator[AsyncSession]:
        async with real(tenant) as db:
            yield db
            claimed = await db.scalar(text("SELECT count(*) FROM delivery_recipient WHERE state = 'sending'"))
        if claimed and not lost:
            lost.append(claimed)
            raise ConnectionResetError

    async with relaying(CountingRelay()) as relay:
        office = await open_office(world, relay)
        async with office.inside() as inside:
            delivery = await make_delivery(inside, 10)
            monkeypatch.setattr(world.parts.databases, "transaction", losing_one_answer)
            await office.send()
            assert lost == [10]
            assert await states(inside, delivery) == {"queued": 10}, "before the next look, not after their lease"
            async with asyncio.timeout(60):
                while (await counts(inside, delivery))["state"] != "done":
                    await office.send()
            assert await states(inside, delivery) == {"accepted": 10}
            assert set(relay.accepted.values()) == {1}


async def test_a_tenant_whose_database_is_away_keeps_nobody_else_waiting_for_what_a_dead_worker_left(
    world: World,
) -> None:
    async with relaying(CountingRelay()) as relay:
        gone, office = await open_office(world, relay), await open_office(world, relay)
        dead = Journal(office.settings.journals)
        for one in (gone, office):
            async with one.inside() as inside:
                delivery = await make_delivery(inside, 2)
            async with world.parts.databases.transaction(one.known) as db:
                rows = [(row.id, row.attempts) for row in await Sending(db).claim(delivery, 2, utc_now())]
            dead.claimed(one.tenant.name, delivery, rows)
        dead.close()
        async with world.server.inside("postgres") as admin:
            await admin.execute(f"ALTER DATABASE {gone.tenant.database} ALLOW_CONNECTIONS false")
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", gone.tenant.database
            )
            await office.send()
            assert relay.accepted.total() == 2
            assert len(journals(office.settings.journals)) == 1, "what could not be written down is kept"
            await admin.execute(f"ALTER DATABASE {gone.tenant.database} ALLOW_CONNECTIONS true")
        await gone.send()
        assert relay.accepted.total() == 4
        assert journals(office.settings.journals) == []


async def test_a_tenant_that_is_erased_in_the_middle_of_its_mails_is_let_go_of(world: World) -> None:
    """Its results can be written nowhere; who waits for that holds the journal, and the erasure waits for him."""
    async with relaying(CountingRelay()) as relay:
        office = await open_office(world, relay)
        async with office.inside() as inside:
            await make_delivery(inside, 300)
        relay.answering.clear()
        sending = asyncio.create_task(office.send())
        await eventually(lambda: relay.accepted.total() == 4)
        database = office.tenant.database
        async with world.server.inside("elink_registry") as registry, world.server.inside("postgres") as admin:
            await registry.execute("DELETE FROM tenant WHERE name = $1", office.tenant.name)
            await admin.execute(f"DROP DATABASE {database} WITH (FORCE)")
        relay.answering.set()
        await asyncio.wait([sending], timeout=90)
        assert isinstance(sending.exception(), DBAPIError), "where it cannot finish the delivery, the task ends"
        assert journals(office.settings.journals) == []


async def test_after_two_days_a_deferred_mail_is_given_up(world: World) -> None:
    async with relaying(CountingRelay(lambda _recipient: b"450 4.2.2 full\r\n")) as relay:
        office = await open_office(world, relay)
        async with office.inside() as inside:
            delivery = await make_delivery(inside, 2)
            await inside.execute("UPDATE delivery SET started_at = now() - interval '49 hours'")
            await inside.execute("UPDATE delivery_recipient SET attempts = 6 WHERE id = 1")
            await office.send()
            assert await states(inside, delivery) == {"refused": 1, "deferred": 1}


async def test_pause_takes_hold_soon_and_resume_goes_on(world: World) -> None:
    """All 600 would take three seconds at least."""
    async with relaying(CountingRelay(delay=0.02)) as relay:
        office = await open_office(world, relay)
        async with office.inside() as inside:
            delivery = await make_delivery(inside, 600)
            sending = asyncio.create_task(office.send())
            await eventually(lambda: relay.accepted.total() > 20)
            await inside.execute("UPDATE delivery SET state = 'paused'")
            await sending
            sent = relay.accepted.total()
            assert sent < 600
            assert await states(inside, delivery) == {"accepted": sent, "queued": 600 - sent}
            await inside.execute("UPDATE delivery SET state = 'sending'")
            relay.delay = 0
            await office.send()
            assert set(relay.accepted.values()) == {1}
            assert await states(inside, delivery) == {"accepted": 600}


async def test_cancel_skips_the_rest(world: World) -> None:
    async with relaying(CountingRelay(delay=0.02)) as relay:
        office = await open_office(world, relay)
        async with office.inside() as inside:
            delivery = await make_delivery(inside, 600)
            sending = asyncio.create_task(office.send())
            await eventually(lambda: relay.accepted.total() > 20)
            await inside.execute("UPDATE delivery SET state = 'cancelled'")
            await sending
            await office.send()
            sent = relay.accepted.total()
            assert await states(inside, delivery) == {"accepted": sent, "skipped": 600 - sent}
            row = await counts(inside, delivery)
            assert (row["state"], row["skipped"]) == ("cancelled", 600 - sent)
            assert row["finished_at"] is not None


async def test_stop_ends_soon_and_another_process_goes_on(world: World) -> None:
    async with relaying(CountingRelay(delay=0.02)) as relay:
        office = await open_office(world, relay)
        async with office.inside() as inside:
            delivery = await make_delivery(inside, 400)
            sending = asyncio.create_task(office.send())
            await eventually(lambda: relay.accepted.total() > 20)
            office.stop.now()
            await sending
            assert relay.accepted.total() < 400
            relay.delay = 0
            other = await open_office(world, relay)
            other.tenant = office.tenant
            await other.send()
            assert set(relay.accepted.values()) == {1}
            assert await states(inside, delivery) == {"accepted": 400}


async def test_several_workers_and_several_deliveries_at_once(world: World) -> None:
    async with relaying(CountingRelay()) as relay:
        office = await open_office(world, relay)
        async with office.inside() as inside:
            deliveries = [await make_delivery(inside, 400, domain=f"d{n}.example") for n in range(3)]
            await asyncio.gather(office.send(), office.send(), office.send())
            await office.send()
            assert relay.accepted.total() == 1200
            assert set(relay.accepted.values()) == {1}
            for delivery in deliveries:
                assert (await counts(inside, delivery))["state"] == "done"


async def test_the_plan_limits_the_hour(world: World) -> None:
    async with relaying(CountingRelay()) as relay:
        office = await open_office(world, relay, limits={"addresses": 1000, "mailsPerHour": 1200})
        async with office.inside() as inside:
            await make_delivery(inside, 300)
            now = utc_now()
            office.clock = lambda: now
            await office.send()
            # A twelfth of the hour's mails at once, one every three seconds afterwards.
            assert relay.accepted.total() == 100
            now += timedelta(seconds=60)
            await office.send()
            assert relay.accepted.total() == 120


async def test_mails_that_the_relay_did_not_take_count_for_nobody_s_hour(world: World) -> None:
    relay = CountingRelay(port=free_port())
    office = await open_office(world, relay, limits={"addresses": 1000, "mailsPerHour": 1200})
    async with office.inside() as inside:
        await make_delivery(inside, 300)
        now = utc_now()
        office.clock = lambda: now
        await office.send()
        assert await inside.fetchval("SELECT this_hour FROM mail_allowance") == 0
        async with relaying(relay):
            await office.send()
        assert relay.accepted.total() == 100
        assert await inside.fetchval("SELECT this_hour FROM mail_allowance") == 100


async def test_a_domain_is_not_flooded(world: World) -> None:
    async with relaying(CountingRelay()) as relay:
        office = await open_office(world, relay, domain_mails_per_minute=60)
        async with office.inside() as inside:
            slow = await make_delivery(inside, 40, domain="docomo.ne.jp")
            fast = await make_delivery(inside, 3, domain="other.example")
            begun = time.monotonic()
            await office.send()
            # Of five in the bucket one asker gets half; each second brings one more.
            assert 3 <= (await counts(inside, slow))["accepted"] <= 6 + time.monotonic() - begun
            assert (await counts(inside, fast))["accepted"] == 3
            waiting = await inside.fetchrow(
                "SELECT max(attempts) AS attempts, max(next_at) < now() AS due FROM delivery_recipient "
                "WHERE state <> 'accepted'"
            )
            assert dict(waiting) == {"attempts": 0, "due": True}, "who waits for a token was left as it was"


@pytest.mark.parametrize(
    ("refusing", "reason"),
    [
        ({"answer": lambda _recipient: b"530 5.7.0 log in first\r\n"}, "sender_refused"),
        ({"most_bytes": 100}, "too_large"),
    ],
)
async def test_a_relay_that_refuses_all_mails_pauses_the_delivery(
    world: World, refusing: dict[str, Any], reason: str
) -> None:
    relay = CountingRelay(**refusing)
    async with relaying(relay):
        office = await open_office(world, relay)
        async with office.inside() as inside:
            delivery = await make_delivery(inside, 300)
            await office.send()
            row = await counts(inside, delivery)
            assert (row["state"], row["state_reason"]) == ("paused", reason)
            assert (await states(inside, delivery)) == {"queued": 300}
            assert relay.accepted.total() == 0


async def test_no_relay_loses_nothing_and_is_left_alone_for_a_while(world: World) -> None:
    relay = CountingRelay(port=free_port())
    office = await open_office(world, relay)
    async with office.inside() as inside:
        delivery = await make_delivery(inside, 300)
        await office.send()
        assert await states(inside, delivery) == {"queued": 300}
        async with relaying(relay):
            await office.send()
        assert await states(inside, delivery) == {"accepted": 300}


async def test_signed_when_the_domain_has_a_key(world: World) -> None:
    pem = new_private_pem()
    async with relaying(CountingRelay()) as relay:
        office = await open_office(world, relay)
        async with office.inside() as inside:
            await inside.execute(
                "INSERT INTO dkim_key (domain, selector, private_pem, active) VALUES "
                "('sakura.example', 'old', 'broken', false), ('sakura.example', 'now', $1, true)",
                pem,
            )
            await make_delivery(inside, 30)
            await office.send()
    assert relay.accepted.total() == 30
    for body in relay.bodies:
        data = body.removesuffix(b".\r\n")
        assert dkim.verify(data, dnsfunc=lambda _name, timeout=5: dns_record(pem).encode())


async def test_scheduled_held_quiet_and_too_late(world: World) -> None:
    async with relaying(CountingRelay()) as relay:
        office = await open_office(world, relay)
        async with office.inside() as inside:
            ids = [await make_delivery(inside, 2, domain=f"d{n}.example") for n in range(5)]
            due, later, held, late, quiet = ids
            hour = (utc_now() + timedelta(hours=9)).time()
            change = (
                "UPDATE delivery SET state = $2, started_at = NULL, scheduled_at = $3, hold_until = $4 WHERE id = $1"
            )
            now = utc_now()
            await inside.execute(change, due, "scheduled", now - timedelta(minutes=1), None)
            await inside.execute(change, later, "scheduled", now + timedelta(hours=1), None)
            await inside.execute(change, held, "holding", None, now + timedelta(minutes=5))
            await inside.execute(change, late, "scheduled", now - timedelta(hours=3), None)
            await inside.execute(
                "UPDATE delivery SET quiet_from = $2, quiet_until = $3 WHERE id = $1",
                quiet,
                hour.replace(second=0, microsecond=0),
                (utc_now() + timedelta(hours=10)).time().replace(second=0, microsecond=0),
            )
            await office.send()
            rows = {one: await counts(inside, one) for one in ids}
            assert {one: row["state"] for one, row in rows.items()} == {
                due: "done", later: "scheduled", held: "holding", late: "paused", quiet: "sending",
            }  # fmt: skip
            assert rows[late]["state_reason"] == "too_late"
            assert relay.accepted.keys() == {"to1@d0.example", "to2@d0.example"}


async def test_content_that_cannot_be_composed_pauses(world: World) -> None:
    async with relaying(CountingRelay()) as relay:
        office = await open_office(world, relay)
        async with office.inside() as inside:
            delivery = await make_delivery(inside, 2)
            await inside.execute("UPDATE delivery SET subject = '{{unknown}}'")
            await office.send()
            row = await counts(inside, delivery)
            assert (row["state"], row["state_reason"]) == ("paused", "cannot_compose")


@pytest.mark.parametrize("resend", [False, True])
async def test_a_lease_that_ends_in_the_middle_of_a_mail(world: World, resend: bool) -> None:
    async with relaying(CountingRelay()) as relay:
        office = await open_office(world, relay)
        async with office.inside() as inside:
            delivery = await make_delivery(inside, 3, resend_unknown=resend)
            await inside.execute("UPDATE delivery_recipient SET state = 'sending', attempts = 1 WHERE id = 1")
            await inside.execute("UPDATE delivery_recipient SET state = 'claimed', attempts = 1 WHERE id = 2")
            await office.send()
            row = await counts(inside, delivery)
            if resend:
                assert await states(inside, delivery) == {"accepted": 3}
            else:
                assert await states(inside, delivery) == {"accepted": 2, "unknown": 1}
                assert "to1@there.example" not in relay.accepted
            assert (row["state"], row["unknown"]) == ("done", 0 if resend else 1)
