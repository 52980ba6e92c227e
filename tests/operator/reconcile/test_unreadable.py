"""A tenant that was written under another schema: nothing is done for it, everything is said, nothing is given away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from elink_operator.api import ElinkRestore, ElinkServer
from elink_operator.business import BusinessCollector
from elink_operator.cluster.kinds import TENANT

from tests.operator.reconcile.harness import Operator, World, condition, is_ready, until
from tests.operator.reconcile.restoring import registry_state
from tests.support.kubectl import eventually

pytestmark = pytest.mark.timeout(600)
CRD = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{TENANT.plural}.{TENANT.group}"
TOO_MANY = {"spec": {"limits": {"addresses": 99_000_000}}}


@pytest.fixture
def newer_schema(world: World) -> Iterator[World]:
    """The CRD of a version that allows more; other tests find it as it was."""
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/limits/properties/addresses/maximum"
    code, answer = world.patch(CRD, [{"op": "remove", "path": path}], "application/json-patch+json")  # type: ignore[arg-type]
    assert code == 200, answer
    yield world
    world.api.install_crds()


def unreadable(op: Operator) -> set[str]:
    families = BusinessCollector(op.ctx.world, op.clock).collect()
    return {s.labels["object"] for f in families if f.name == "elink_object_not_readable" for s in f.samples}


async def test_an_object_that_cannot_be_read_is_told_of_and_takes_its_place(newer_schema: World) -> None:
    world = newer_schema
    server, tenant, late = world.unique("shared"), world.unique("t"), world.unique("u")
    world.server(server, maxTenants=1)
    world.tenant(tenant)
    path = f"/apis/elink-lc.com/v1/elinktenants/{tenant}"
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(tenant)))
        merge = "application/merge-patch+json"
        eventually(lambda: world.patch(path, TOO_MANY, merge)[0] == 200, what="the newer schema")
        world.api.install_crds()
        found = await until(partial(not_readable, world, tenant), what="the condition")
        assert "spec.limits.addresses (less_than_equal)" in found["message"]
        assert unreadable(op) == {tenant}
        await op.look_at_everything()
        events = world.items("/api/v1/namespaces/default/events")
        told = [e for e in events if e["involvedObject"]["name"] == tenant and e["reason"] == "NotReadable"]
        assert len(told) == 1, json.dumps(told)
        assert await registry_state(world, tenant) == "Active", "its users work on"
        # What it has is not given away.
        world.tenant(late)
        await until(lambda: condition(world.et(late), "Ready").get("reason") == "NoServerWithRoom")
        assert (world.es(server) or {})["status"]["tenants"] == 1
        world.delete(f"/apis/elink-lc.com/v1/elinkservers/{server}")
        await until(lambda: "cannot read" in condition(world.es(server), "Ready").get("message", ""))
        world.change("ElinkTenant", tenant, {"spec": {"limits": {"addresses": 5000}}})
        await until(lambda: not unreadable(op))
        await until(lambda: condition(world.et(tenant), "Ready").get("reason") != "NotReadable")


async def test_a_server_that_cannot_be_read_is_taken_for_no_lost_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is said of a lost server (remove the finalizer by hand) would leave the data of one that is there."""
    parse, strange = ElinkServer.parse, False

    def another_version(body: dict[str, Any]) -> ElinkServer:
        if strange:
            raise ValueError("another version")
        return parse(body)

    monkeypatch.setattr(ElinkServer, "parse", another_version)
    server, tenant = world.unique("shared"), world.unique("t")
    world.server(server)
    world.tenant(tenant)
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(tenant)))
        strange = True
        world.change("ElinkServer", server, {"metadata": {"labels": {"written": "anew"}}})
        await until(lambda: condition(world.es(server), "Ready").get("reason") == "NotReadable")
        op.ctx.wake("tenant", tenant)
        await until(lambda: condition(world.et(tenant), "Ready").get("reason") == "ServerNotReadable")
        world.change("ElinkTenant", tenant, {"metadata": {"annotations": {"elink-lc.com/confirm-erasure": tenant}}})
        world.delete(f"/apis/elink-lc.com/v1/elinktenants/{tenant}")
        await until(lambda: (world.et(tenant) or {})["metadata"].get("deletionTimestamp"))
        await until(lambda: "cannot be read" in str((world.et(tenant) or {})["status"].get("erasure", "")))
        assert await registry_state(world, tenant) == "Active", "nothing is erased before somebody can look"
        strange = False
        world.change("ElinkServer", server, {"metadata": {"labels": {"written": "again"}}})
        op.ctx.wake("tenant", tenant)
        await until(lambda: world.et(tenant) is None, what="erased")


async def test_a_restore_that_cannot_be_read_holds_the_erasure_of_its_own_tenant_only(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse = ElinkRestore.parse

    def another_version(body: dict[str, Any]) -> ElinkRestore:
        if strange and body["metadata"]["name"] == "strange":
            raise ValueError("another version")
        return parse(body)

    strange = True
    monkeypatch.setattr(ElinkRestore, "parse", another_version)
    server, its, other = world.unique("shared"), world.unique("t"), world.unique("u")
    world.server(server)
    async with world.operator():
        for tenant in (its, other):
            world.tenant(tenant)
        await until(lambda: is_ready(world.et(its)) and is_ready(world.et(other)))
        world.apply("ElinkRestore", "strange", {"tenant": its, "mode": "Drill"}, finalizers=["elink-lc.com/erasure"])
        await until(lambda: condition(world.er("strange"), "Complete").get("reason") == "NotReadable")
        for tenant in (other, its):
            world.change("ElinkTenant", tenant, {"metadata": {"annotations": {"elink-lc.com/confirm-erasure": tenant}}})
            world.delete(f"/apis/elink-lc.com/v1/elinktenants/{tenant}")
        await until(lambda: world.et(other) is None, what="the other one is erased")
        await until(lambda: condition(world.et(its), "Ready").get("reason") == "RestoreNotReadable")
        strange = False
        world.change("ElinkRestore", "strange", {"metadata": {"labels": {"read": "again"}}})
        await until(lambda: world.et(its) is None, what="erased")


def not_readable(world: World, tenant: str) -> dict[str, str] | None:
    found = condition(world.et(tenant), "Ready")
    return found if found.get("reason") == "NotReadable" else None
