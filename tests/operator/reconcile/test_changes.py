"""Records of changes on the real API server: each once, whatever is killed, and nothing at rest."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from elink_operator.cluster.kinds import CHANGE
from elink_operator.desired.change import UNKNOWN
from elink_operator.reconcile.changes import prune

from tests.operator.reconcile.harness import Obj, World, is_ready, until
from tests.operator.reconcile.test_life import look, ready_pair

PATH = "/apis/elink-lc.com/v1/elinkchanges"


def records(world: World, kind: str, name: str) -> list[Obj]:
    """Records of an object, in the order of their making."""
    found = [o for o in world.items(PATH) if (o["spec"]["kind"], o["spec"]["name"]) == (kind, name)]
    return sorted(found, key=lambda o: int(o["metadata"]["resourceVersion"]))


def words(world: World, name: str, kind: str = "ElinkTenant") -> list[str]:
    return [record["spec"]["what"] for record in records(world, kind, name)]


def events(world: World, name: str) -> list[str]:
    found = world.items("/api/v1/namespaces/default/events")
    return [e["reason"] for e in found if e["involvedObject"]["name"] == name]


async def test_the_history_of_a_tenant_from_its_creation_to_its_erasure(world: World) -> None:
    server, tenant = await ready_pair(world)
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(tenant)))
        for spec in ({"limits": {"addresses": 77}}, {"state": "Suspended"}, {"state": "Cancelled"}):
            world.change("ElinkTenant", tenant, {"spec": spec})
            await until(lambda: is_ready(world.et(tenant)))
        before = len(world.items(PATH))
        await op.look_at_everything()
        assert len(world.items(PATH)) == before, "nothing at rest"
        assert words(world, server, "ElinkServer") == ["Created"]
        op.clock.offset = timedelta(days=15)
        await look(op, tenant)
        await until(lambda: world.et(tenant) is None)
    found = records(world, "ElinkTenant", tenant)
    expected = ["Created", "Changed", "Suspended", "Cancelled", "DeletionAsked", "Erased"]
    assert [r["spec"]["what"] for r in found] == expected
    changed = found[1]
    assert changed["spec"]["fields"] == [{"field": "limits.addresses", "before": "10000", "after": "77"}]
    assert (changed["spec"]["since"], changed["spec"]["generation"]) == (1, 2)
    assert changed["spec"]["who"] == UNKNOWN, "there is no webhook here"
    assert [r["spec"]["who"] for r in found[-2:]] == ["elink-operator"] * 2
    assert {r["metadata"]["labels"]["elink-lc.com/tenant"] for r in found} == {tenant}
    text = json.dumps(found, ensure_ascii=False)
    assert "あおぞら" not in text
    assert "kanri" not in text
    told = set(events(world, tenant))
    assert told >= {"Changed", "Suspended", "Cancelled", "Erased"}
    assert "Created" not in told, "a burst of new tenants would cost a request more for each"


async def test_a_kill_between_change_and_record_or_record_and_status_makes_neither_none_nor_two(world: World) -> None:
    _, tenant = await ready_pair(world)
    async with world.operator():
        await until(lambda: is_ready(world.et(tenant)))
    # Changes that nobody saw: found by the next operator.
    world.change("ElinkTenant", tenant, {"spec": {"language": "en"}})
    async with world.operator():
        await until(lambda: is_ready(world.et(tenant)))
        assert words(world, tenant) == ["Created", "Changed"]
    # The record was written, the status was not.
    code, answer = world.patch(
        f"/apis/elink-lc.com/v1/elinktenants/{tenant}/status",
        {"status": {"recorded": {**(world.et(tenant) or {})["status"]["recorded"], "generation": 1}}},
        "application/merge-patch+json",
    )
    assert code == 200, answer
    async with world.operator() as op:
        await until(lambda: (world.et(tenant) or {})["status"]["recorded"]["generation"] == 2)
        await op.settle()
    assert words(world, tenant) == ["Created", "Changed"]


async def test_annotations_by_people_are_changes_too_and_come_back(world: World) -> None:
    _, tenant = await ready_pair(world)
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(tenant)))
        for value in ("a", "b", "a", None):
            world.change("ElinkTenant", tenant, {"metadata": {"annotations": {"elink-lc.com/confirm-erasure": value}}})
            count = len(words(world, tenant))
            await until(lambda n=count: len(words(world, tenant)) > n)  # type: ignore[misc]
            op.clock.offset += timedelta(seconds=1)
            await op.settle()
    found: list[Any] = [r["spec"]["fields"] for r in records(world, "ElinkTenant", tenant)[1:]]
    assert [(f[0]["before"], f[0]["after"]) for f in found] == [("", "a"), ("a", "b"), ("b", "a"), ("a", "")]


async def test_a_refused_record_holds_nobody_up_and_is_written_later(world: World) -> None:
    _, tenant = await ready_pair(world)
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(tenant)))
        world.proxy.fail(403, method="POST", path=PATH)
        world.change("ElinkTenant", tenant, {"spec": {"language": "en"}})
        await until(lambda: is_ready(world.et(tenant)))
        assert words(world, tenant) == ["Created"]
        world.proxy.heal()
        await look(op, tenant)
        await until(lambda: words(world, tenant) == ["Created", "Changed"])


async def test_old_records_are_removed_and_young_ones_stay(world: World) -> None:
    _, tenant = await ready_pair(world)
    async with world.operator(change_record_days=400) as op:
        await until(lambda: is_ready(world.et(tenant)))
        op.clock.offset = timedelta(days=399)
        await prune(op.ctx)
        assert words(world, tenant) == ["Created"]
        op.clock.offset = timedelta(days=401)
        assert await prune(op.ctx) >= 2
        assert (await op.ctx.client.list(CHANGE))[0] == []
