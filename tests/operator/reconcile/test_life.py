"""Suspended, cancelled, undone, due; limits; host changes; refusals that admission did not make."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from elink_operator import naming
from elink_operator.cluster.errors import Conflict
from elink_operator.cluster.kinds import Kind
from elink_operator.jst import JST
from elink_operator.reconcile import placing
from elink_operator.reconcile.context import Context

from tests.operator.reconcile.harness import SYSTEM, Operator, World, condition, is_ready, until
from tests.operator.reconcile.test_erase import fill, plant_files, records_of
from tests.operator.reconcile.test_erase_many import image_of


async def ready_pair(world: World) -> tuple[str, str]:
    """Names of a server and a tenant that are being made."""
    server, tenant = world.unique("shared"), world.unique("t")
    world.server(server)
    world.tenant(tenant)
    return server, tenant


async def state_of(world: World, tenant: str) -> str:
    rows = await world.sql("elink_registry", "SELECT state FROM tenant WHERE name = $1", tenant)
    return str(rows[0]["state"])


async def test_suspended_and_back(world: World) -> None:
    _, tenant = await ready_pair(world)
    async with world.operator():
        await until(lambda: is_ready(world.et(tenant)))
        world.change("ElinkTenant", tenant, {"spec": {"state": "Suspended"}})
        await until(lambda: (world.et(tenant) or {})["status"]["phase"] == "Suspended" and is_ready(world.et(tenant)))
        assert await state_of(world, tenant) == "Suspended"
        world.change("ElinkTenant", tenant, {"spec": {"state": "Active"}})
        await until(lambda: (world.et(tenant) or {})["status"]["phase"] == "Active" and is_ready(world.et(tenant)))
        assert await state_of(world, tenant) == "Active"


async def reason_of(world: World, tenant: str) -> str:
    rows = await world.sql("elink_registry", "SELECT state_reason FROM tenant WHERE name = $1", tenant)
    return str(rows[0]["state_reason"])


async def test_a_refused_tenant_is_suspended_and_takes_effect_when_it_is_right_again(world: World) -> None:
    _, tenant = await ready_pair(world)
    rival = world.unique("rival")
    world.tenant(rival)
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(tenant)) and is_ready(world.et(rival)))
        # Past the webhook, which is away.
        wrong = {"host": rival, "state": "Suspended", "stateReason": "お支払いの確認ができていないため"}
        world.change("ElinkTenant", tenant, {"spec": wrong})
        await until(lambda: condition(world.et(tenant), "Ready").get("reason") == "NotAllowed")
        await op.settle()
        assert await state_of(world, tenant) == "Suspended"
        assert await reason_of(world, tenant) == wrong["stateReason"]
        world.change("ElinkTenant", tenant, {"spec": {"host": None, "state": "Active", "language": "en"}})
        await until(lambda: is_ready(world.et(tenant)))
        [row] = await world.sql(
            "elink_registry", "SELECT state, language, spec_hash FROM tenant WHERE name = $1", tenant
        )
        assert (row["state"], row["language"]) == ("Active", "en")
        assert row["spec_hash"]


async def test_the_reason_of_a_suspension_reaches_the_registry(world: World) -> None:
    _, tenant = await ready_pair(world)
    async with world.operator():
        await until(lambda: is_ready(world.et(tenant)))
        for reason in ("お支払いの確認ができていないため", "Unpaid <since> March & 'more' 👩"):
            # The second change is one of the reason alone.
            world.change("ElinkTenant", tenant, {"spec": {"state": "Suspended", "stateReason": reason}})
            await until(lambda: is_ready(world.et(tenant)))
            assert await reason_of(world, tenant) == reason
        world.change("ElinkTenant", tenant, {"spec": {"state": "Active"}})
        await until(lambda: is_ready(world.et(tenant)))
        assert await reason_of(world, tenant) == "", "a reason left over from a suspension is nobody's to read"


async def test_cancelled_has_a_deadline_that_undo_removes(world: World) -> None:
    _, tenant = await ready_pair(world)
    async with world.operator():
        await until(lambda: is_ready(world.et(tenant)))
        world.change("ElinkTenant", tenant, {"spec": {"state": "Cancelled"}})
        status = (await until(lambda: with_deadline(world, tenant)))["status"]
        days = timedelta(days=14)
        assert status["phase"] == "Cancelled"
        assert parse(status["eraseAfter"]) - parse(status["cancelledAt"]) == days
        assert await state_of(world, tenant) == "Cancelled"
        world.change("ElinkTenant", tenant, {"spec": {"state": "Active"}})
        await until(lambda: not with_deadline(world, tenant) and is_ready(world.et(tenant)))
        assert "cancelledAt" not in (world.et(tenant) or {})["status"]


async def test_a_cancelled_tenant_goes_when_its_time_is_over(world: World) -> None:
    _, tenant = await ready_pair(world)
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(tenant)))
        world.change("ElinkTenant", tenant, {"spec": {"state": "Cancelled"}})
        await until(lambda: with_deadline(world, tenant))
        op.clock.offset = timedelta(days=13, hours=23)
        await op.look_at_everything()
        assert "deletionTimestamp" not in (world.et(tenant) or {})["metadata"]
        op.clock.offset = timedelta(days=14, minutes=1)
        await look(op, tenant)
        await until(lambda: world.et(tenant) is None, what="erased")
        assert (
            await world.sql("postgres", "SELECT 1 FROM pg_database WHERE datname = $1", naming.tenant_database(tenant))
            == []
        )


async def test_a_refused_tenant_is_cancelled_undone_and_erased_like_any_other(world: World) -> None:
    """What keeps the operator from serving a customer must not keep it from ending the contract in time."""
    _, tenant = await ready_pair(world)
    world.change("ElinkTenant", tenant, {"spec": {"region": "jp"}})
    async with world.operator():
        await until(lambda: is_ready(world.et(tenant)))
    async with world.operator(regions=frozenset({"eu"})) as op:
        await until(lambda: condition(world.et(tenant), "Ready").get("reason") == "NotAllowed")
        world.change("ElinkTenant", tenant, {"spec": {"state": "Cancelled"}})
        status = (await until(lambda: with_deadline(world, tenant)))["status"]
        assert parse(status["eraseAfter"]) - parse(status["cancelledAt"]) == timedelta(days=14)
        assert status["phase"] == "Cancelled"
        assert condition(world.et(tenant), "Ready")["reason"] == "NotAllowed"
        await until(lambda: "Cancelled" in reasons(world, tenant))
        await op.settle()
        assert await state_of(world, tenant) == "Cancelled", "the service has stopped, as the contacts are told"
        world.change("ElinkTenant", tenant, {"spec": {"state": "Active"}})
        await until(lambda: not with_deadline(world, tenant), what="undone")
        await op.settle()
        assert await state_of(world, tenant) == "Active"
        # A second cancellation has the whole time to undo again.
        op.clock.offset = timedelta(days=10)
        world.change("ElinkTenant", tenant, {"spec": {"state": "Cancelled"}})
        again = (await until(lambda: with_deadline(world, tenant)))["status"]
        assert parse(again["cancelledAt"]) - parse(status["cancelledAt"]) >= timedelta(days=10)
        op.clock.offset = timedelta(days=24, minutes=1)
        await look(op, tenant)
        await until(lambda: world.et(tenant) is None, what="erased")


async def test_a_deadline_is_a_second_and_not_a_day(world: World) -> None:
    """Cancelled 0.1 s before the New Year in Japan: the whole time to undo, and not a tenth of a second less."""
    _, tenant = await ready_pair(world)
    eve = datetime(datetime.now(UTC).year + 1, 12, 31, 23, 59, 59, 900_000, JST)
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(tenant)))
        uid = (world.et(tenant) or {})["metadata"]["uid"]
        op.clock.stopped_at = eve
        world.change("ElinkTenant", tenant, {"spec": {"state": "Cancelled"}})
        status = (await until(lambda: with_deadline(world, tenant)))["status"]
        assert status["cancelledAt"] == f"{eve.year}-12-31T14:59:59Z"
        assert status["eraseAfter"] == f"{eve.year + 1}-01-14T14:59:59Z"
        await until(lambda: f"after {eve.year + 1}-01-14T23:59:59+09:00;" in str(events_about(world, tenant)))
        due = datetime.fromisoformat(status["eraseAfter"])
        op.clock.stopped_at = due - timedelta(seconds=0.1)
        await look(op, tenant)
        await op.settle()
        assert "deletionTimestamp" not in (world.et(tenant) or {})["metadata"]
        op.clock.stopped_at = due
        await look(op, tenant)
        await until(lambda: world.et(tenant) is None, what="erased")
    [record] = records_of(world, uid)
    assert record["spec"]["cancelledAt"] == f"{eve.year}-12-31T23:59:59+09:00"
    assert record["spec"]["erasedAt"] == record["spec"]["eraseAfter"] == f"{eve.year + 1}-01-14T23:59:59+09:00"
    changes = [c["spec"] for c in world.items("/apis/elink-lc.com/v1/elinkchanges") if c["spec"]["name"] == tenant]
    assert f"{eve.year}-12-31T23:59:59+09:00" in {c["at"] for c in changes}


async def look(op: Operator, tenant: str) -> None:
    op.ctx.wake("tenant", tenant)


async def test_limits_and_host_take_effect_before_the_generation_says_so(world: World) -> None:
    server, tenant = await ready_pair(world)
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(tenant)))
        await op.settle()
        world.standin.accept_routes = False
        world.change("ElinkTenant", tenant, {"spec": {"host": "book.example.jp", "limits": {"addresses": 77}}})
        await until(lambda: condition(world.et(tenant), "RouteReady").get("status") == "False")
        found = world.et(tenant)
        assert found is not None
        assert found["status"]["observedGeneration"] < found["metadata"]["generation"]
        world.standin.accept_routes = True
        await until(lambda: is_ready(world.et(tenant)))
        row = (await world.sql("elink_registry", "SELECT host, limits FROM tenant WHERE name = $1", tenant))[0]
        assert row["host"] == "book.example.jp"
        assert '"addresses": 77' in row["limits"]
        namespace = naming.server_namespace(server)
        route = world.get(f"/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes/tenant-{tenant}")
        assert route is not None
        assert route["spec"]["hostnames"] == ["book.example.jp"]
        secret = world.get(f"/api/v1/namespaces/{SYSTEM}/secrets/elink-{tenant}-master")
        assert secret is not None
        assert base64.b64decode(secret["data"]["setup-url"]).startswith(b"https://book.example.jp/setup?token=")
        assert (world.et(tenant) or {})["status"]["url"] == "https://book.example.jp"


async def test_a_deleted_first_log_in_is_made_anew_with_another_token(world: World) -> None:
    _, tenant = await ready_pair(world)
    path = f"/api/v1/namespaces/{SYSTEM}/secrets/elink-{tenant}-master"
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(tenant)))
        before = world.get(path)
        world.delete(path)
        after = await until(lambda: world.get(path))
        assert before is not None
        assert before["data"]["setup-url"] != after["data"]["setup-url"]
        await op.settle()
        rows = await world.sql("elink_registry", "SELECT setup_token_sha256 FROM tenant WHERE name = $1", tenant)
        assert rows[0][0] == after["metadata"]["annotations"]["elink-lc.com/token-sha256"]


async def test_rules_are_checked_again_where_admission_was_not_asked(world: World) -> None:
    _, first = await ready_pair(world)
    second = world.unique("u")
    async with world.operator():
        await until(lambda: is_ready(world.et(first)))
        world.tenant(second, host=first)
        found = await until(lambda: condition(world.et(second), "Ready"))
        assert found["reason"] == "NotAllowed"
        assert first in found["message"]
        assert is_ready(world.et(first))
        world.change("ElinkTenant", second, {"spec": {"host": None}})
        await until(lambda: is_ready(world.et(second)))


async def test_an_unconfirmed_deletion_of_an_active_tenant_is_held_and_the_data_stays(world: World) -> None:
    _, tenant = await ready_pair(world)
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(tenant)))
        world.delete(f"/apis/elink-lc.com/v1/elinktenants/{tenant}")
        await until(lambda: condition(world.et(tenant), "Ready").get("reason") == "ErasureNotConfirmed")
        await op.settle()
        assert await state_of(world, tenant) == "Active"
        world.change("ElinkTenant", tenant, {"metadata": {"annotations": {"elink-lc.com/confirm-erasure": tenant}}})
        await until(lambda: world.et(tenant) is None, what="erased after confirmation")


async def test_full_cordoned_and_pinned_servers(world: World) -> None:
    small, other = world.unique("small"), world.unique("other")
    world.server(small, maxTenants=1)
    world.server(other, cordoned=True)
    first, second, pinned = world.unique("a"), world.unique("b"), world.unique("c")
    async with world.operator():
        await until(lambda: is_ready(world.es(small)) and is_ready(world.es(other)))
        world.tenant(first)
        await until(lambda: is_ready(world.et(first)))
        world.tenant(second)
        found = await until(lambda: condition(world.et(second), "Ready"))
        assert found["reason"] == "NoServerWithRoom"
        assert f"{small} is full" in found["message"]
        assert f"{other} is cordoned" in found["message"]
        world.change("ElinkServer", other, {"spec": {"cordoned": False}})
        await until(lambda: is_ready(world.et(second)), what="placed when there is room")
        assert (world.et(second) or {})["status"]["server"] == other
        world.tenant(pinned, server=other)
        await until(lambda: is_ready(world.et(pinned)))
        assert (world.et(pinned) or {})["status"]["serverReason"] == "pinned by spec.server"
        # Cordoning never moves those who live there.
        world.change("ElinkServer", other, {"spec": {"cordoned": True}})
        await until(lambda: is_ready(world.es(other)))
        assert is_ready(world.et(pinned))


async def test_a_place_that_becomes_free_goes_at_once_to_who_is_pinned_there(world: World) -> None:
    server, first, waits = world.unique("small"), world.unique("a"), world.unique("b")
    world.server(server, maxTenants=1)
    async with world.operator() as op:
        world.tenant(first)
        await until(lambda: is_ready(world.et(first)))
        world.tenant(waits, server=server)
        await until(lambda: f"{server} is full" in condition(world.et(waits), "Ready").get("message", ""))
        await op.settle()
        world.change("ElinkTenant", first, {"metadata": {"annotations": {"elink-lc.com/confirm-erasure": first}}})
        world.delete(f"/apis/elink-lc.com/v1/elinktenants/{first}")
        await until(lambda: is_ready(world.et(waits)), what="placed without a periodic look")


async def test_a_placement_that_could_not_be_written_does_not_take_its_own_place(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, tenant = world.unique("small"), world.unique("a")
    write, refused = placing.ensure_finalizer, []

    async def changed_meanwhile(ctx: Context, kind: Kind, name: str, notes: dict[str, str] | None = None) -> None:
        if name == tenant and notes and not refused:
            refused.append(name)
            raise Conflict("somebody changed the tenant meanwhile")
        await write(ctx, kind, name, notes)

    monkeypatch.setattr(placing, "ensure_finalizer", changed_meanwhile)
    world.server(server, maxTenants=1)
    async with world.operator():
        await until(lambda: is_ready(world.es(server)))
        world.tenant(tenant)
        await until(lambda: is_ready(world.et(tenant)), what="placed on the last place")
        assert refused == [tenant]
        assert "NoServerWithRoom" not in reasons(world, tenant), "it waited for a place that it held itself"


async def test_many_at_once_never_overfill_a_server(world: World) -> None:
    servers = [world.unique("s") for _ in range(2)]
    for server in servers:
        world.server(server, maxTenants=5)
    tenants = [world.unique("t") for _ in range(12)]
    for tenant in tenants:
        world.tenant(tenant)
    async with world.operator() as op:
        await until(lambda: sum(is_ready(world.et(t)) for t in tenants) == 10, what="ten of twelve placed")
        await op.settle()
        homes = [(world.et(t) or {}).get("status", {}).get("server") for t in tenants]
        assert sorted(homes.count(s) for s in servers) == [5, 5]
        waiting = [t for t in tenants if not is_ready(world.et(t))]
        assert {condition(world.et(t), "Ready")["reason"] for t in waiting} == {"NoServerWithRoom"}


def with_deadline(world: World, tenant: str) -> dict[str, dict[str, str]] | None:
    found = world.et(tenant)
    return found if found and found.get("status", {}).get("eraseAfter") else None


def parse(text: str) -> timedelta:
    return datetime.fromisoformat(text) - datetime(2026, 1, 1, tzinfo=UTC)


def events_about(world: World, tenant: str) -> list[dict[str, Any]]:
    """Events about a tenant."""
    found = world.items("/api/v1/namespaces/default/events")
    return [e for e in found if e["involvedObject"]["name"] == tenant]


def reasons(world: World, tenant: str) -> set[str]:
    """Reasons of the Events about a tenant."""
    return {e["reason"] for e in events_about(world, tenant)}


def lasting(row: str) -> dict[str, object]:
    """A registry row without what a change of the limits and the time of writing leave in it."""
    found: dict[str, object] = json.loads(row)
    return {key: value for key, value in found.items() if key not in {"updated_at", "spec_hash", "limits"}}


@pytest.mark.parametrize("state", ["Active", "Suspended"])
async def test_cancelled_and_undone_leaves_every_byte_as_it_was(world: World, state: str) -> None:
    server, tenant = await ready_pair(world)
    world.change("ElinkTenant", tenant, {"spec": {"state": state}})
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(tenant)))
        uid = (world.et(tenant) or {})["metadata"]["uid"]
        await fill(world, tenant, 9)
        plant_files(world, server, tenant)
        await op.settle()
        before = await image_of(world, tenant, uid)
        before["row"] = lasting(before["row"])
        assert before["row"]["state"] == state
        assert all(len(before[path]) == 1 for path in before if path.startswith("/apis/"))
        world.change("ElinkTenant", tenant, {"spec": {"state": "Cancelled"}})
        await until(lambda: with_deadline(world, tenant))
        promised = (world.et(tenant) or {})["status"]["eraseAfter"]
        op.clock.offset = timedelta(days=13)
        world.change("ElinkTenant", tenant, {"spec": {"limits": {"addresses": 5}}})
        await until(lambda: is_ready(world.et(tenant)))
        assert (world.et(tenant) or {})["status"]["eraseAfter"] == promised, "no edit puts it off"
        world.change("ElinkTenant", tenant, {"spec": {"state": state}})
        await until(lambda: not with_deadline(world, tenant) and is_ready(world.et(tenant)))
        after = await image_of(world, tenant, uid)
        after["row"] = lasting(after["row"])
        assert after == before
        await until(lambda: {"Cancelled", "CancellationUndone"} <= reasons(world, tenant))


async def test_a_clock_that_runs_ahead_of_the_api_servers_erases_nothing(world: World) -> None:
    _, tenant = await ready_pair(world)
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(tenant)))
        world.change("ElinkTenant", tenant, {"spec": {"state": "Cancelled"}})
        await until(lambda: with_deadline(world, tenant))
        op.engine.client._compare_clocks("Thu, 01 Jan 2026 00:00:00 GMT")
        skew = op.engine.client.clock_skew
        assert skew is not None
        assert skew < -300
        op.clock.offset = timedelta(days=15)
        op.engine.client._compare_clocks = lambda date: None  # type: ignore[method-assign]
        await op.look_at_everything()
        assert "deletionTimestamp" not in (world.et(tenant) or {})["metadata"]
        op.engine.client.clock_skew = 0.0
        await look(op, tenant)
        await until(lambda: world.et(tenant) is None, what="erased when the clocks agree")
