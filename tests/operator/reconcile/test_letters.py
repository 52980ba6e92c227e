"""Contacts are told by a real SMTP server, once each, whatever the relay does; and the erasure never waits for it."""

from __future__ import annotations

from datetime import timedelta
from email import message_from_bytes, policy
from typing import Any

from elink_operator.relay import Relay

from tests.operator.reconcile.harness import World, is_ready, until
from tests.operator.reconcile.test_changes import events
from tests.operator.reconcile.test_life import look, parse, ready_pair, with_deadline
from tests.tenant_app.mail.servers import Script, scripted

SENDER = {"mail_from": "elink@elink.example"}
CONTACTS = {"emails": ["a@aozora.example", "b@aozora.example"]}


def subjects(script: Script) -> list[str]:
    return [message_from_bytes(body, policy=policy.default)["Subject"] for body in script.bodies]


def told(world: World, tenant: str) -> Any:
    return ((world.et(tenant) or {})["status"].get("cancellation") or {}).get("told")


async def test_cancelled_days_left_undone_and_erased(world: World) -> None:
    _, tenant = await ready_pair(world)
    world.change("ElinkTenant", tenant, {"spec": {"contacts": CONTACTS}})
    script = Script()
    async with scripted(script) as there, world.operator(relay=Relay(there.host, there.port), **SENDER) as op:
        await until(lambda: is_ready(world.et(tenant)))
        for _ in range(2):
            world.change("ElinkTenant", tenant, {"spec": {"state": "Cancelled"}})
            await until(lambda: told(world, tenant) == ["Cancelled"])
            world.change("ElinkTenant", tenant, {"spec": {"state": "Suspended"}})
            await until(lambda: told(world, tenant) is None)
        assert subjects(script) == (["【elink】解約を承りました"] * 2 + ["【elink】解約を取り消しました"] * 2) * 2
        assert "eraseAfter" not in (world.et(tenant) or {})["status"], "Suspended undoes it too"
        script.bodies.clear()
        world.change("ElinkTenant", tenant, {"spec": {"state": "Cancelled", "language": "en"}})
        await until(lambda: told(world, tenant) == ["Cancelled"])
        for days, names in ((7.5, 1), (6.5, 2), (0.5, 3)):
            op.clock.offset = timedelta(days=14 - days)
            await op.look_at_everything()
            await op.look_at_everything()
            assert len(told(world, tenant)) == names
        assert [s.rpartition("will be erased ")[2] for s in subjects(script)[2::2]] == ["in 7 days", "tomorrow"]
        op.clock.offset = timedelta(days=15)
        await look(op, tenant)
        await until(lambda: world.et(tenant) is None)
    assert len(script.bodies) == 6
    assert {"ContactsTold", "CancellationUndone"} <= set(events(world, tenant))


async def test_a_relay_that_fails_is_tried_again_and_nobody_gets_two(world: World) -> None:
    _, tenant = await ready_pair(world)
    world.change("ElinkTenant", tenant, {"spec": {"contacts": CONTACTS}})
    script = Script({"RCPT": [b"250 ok\r\n", b"451 later\r\n", b"250 ok\r\n"]})
    async with scripted(script) as there, world.operator(relay=Relay(there.host, there.port), **SENDER) as op:
        await until(lambda: is_ready(world.et(tenant)))
        world.change("ElinkTenant", tenant, {"spec": {"state": "Cancelled"}})
        await until(lambda: op.ctx.memory.relay_rests_until is not None)
        assert told(world, tenant) is None
        assert f'elink_contacts_untold{{tenant="{tenant}"}} 1.0' in _metrics(op)
        op.clock.offset = timedelta(seconds=61)
        await look(op, tenant)
        await until(lambda: told(world, tenant) == ["Cancelled"])
        await until(lambda: "elink_contacts_untold{" not in _metrics(op))
    to = [message_from_bytes(body, policy=policy.default)["To"] for body in script.bodies]
    assert to == ["a@aozora.example", "b@aozora.example"]


def _metrics(op: Any) -> str:
    from prometheus_client import generate_latest

    return generate_latest(op.engine.metrics.registry).decode()


async def test_the_erasure_waits_for_no_relay(world: World) -> None:
    _, tenant = await ready_pair(world)
    async with world.operator(relay=Relay("127.0.0.1", 9), **SENDER) as op:
        await until(lambda: is_ready(world.et(tenant)))
        world.change("ElinkTenant", tenant, {"spec": {"state": "Cancelled"}})
        await until(lambda: with_deadline(world, tenant))
        assert parse((world.et(tenant) or {})["status"]["eraseAfter"])
        op.clock.offset = timedelta(days=14, minutes=1)
        await look(op, tenant)
        await until(lambda: world.et(tenant) is None)


async def test_without_a_sender_the_event_says_that_nobody_was_told(world: World) -> None:
    _, tenant = await ready_pair(world)
    async with world.operator():
        await until(lambda: is_ready(world.et(tenant)))
        world.change("ElinkTenant", tenant, {"spec": {"state": "Cancelled"}})
        await until(lambda: "Cancelled" in events(world, tenant) and with_deadline(world, tenant))

        def said() -> bool:
            found = world.items("/api/v1/namespaces/default/events")
            return any(e["involvedObject"]["name"] == tenant and "mail.from" in e["message"] for e in found)

        await until(said)
        assert told(world, tenant) is None
