"""Somebody deletes our CRDs under a running operator: the API server deletes every object and asks no policy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from elink_operator import naming
from elink_operator.business import BusinessCollector
from elink_operator.cluster.kinds import SERVER, TENANT, Kind

from tests.operator.reconcile.conftest import clean
from tests.operator.reconcile.harness import Operator, World, condition, is_ready, until
from tests.operator.reconcile.test_erase import fill, plant_files, records_of, rows_of, traces
from tests.operator.reconcile.test_life import ready_pair, reasons
from tests.support.kubectl import eventually

pytestmark = pytest.mark.timeout(600)
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture
def definitions(world: World) -> Iterator[World]:
    """Other tests find the CRDs as they were, whatever happens here."""
    yield world
    for kind in (TENANT, SERVER):
        found = world.get(crd(kind))
        if found is None or found["metadata"].get("deletionTimestamp"):
            if found is not None:
                clean(world)
            eventually(lambda kind=kind: world.get(crd(kind)) is None)
    world.api.install_crds()


def crd(kind: Kind) -> str:
    return f"{CRDS}/{kind.plural}.{kind.group}"


def terminating(world: World, kind: Kind) -> bool:
    return bool((world.get(crd(kind)) or {}).get("metadata", {}).get("deletionTimestamp"))


def deleting(obj: dict[str, Any] | None) -> bool:
    return bool((obj or {}).get("metadata", {}).get("deletionTimestamp"))


def unconfirmed(op: Operator) -> set[str]:
    """Whom the alert names."""
    families = BusinessCollector(op.ctx.world, op.clock).collect()
    return {s.labels["tenant"] for f in families if f.name == "elink_deletion_unconfirmed" for s in f.samples}


async def test_tenants_are_erased_only_when_somebody_confirms_it(definitions: World) -> None:
    world = definitions
    server, kept = await ready_pair(world)
    going = world.unique("g")
    world.tenant(going, server=server)
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(kept)) and is_ready(world.et(going)))
        uids = {name: (world.et(name) or {})["metadata"]["uid"] for name in (kept, going)}
        for name in (kept, going):
            await fill(world, name, 5)
            plant_files(world, server, name)
        world.change("ElinkTenant", going, {"metadata": {"annotations": {"elink-lc.com/confirm-erasure": going}}})
        await op.settle()
        there = await traces(world, kept, uids[kept])
        world.delete(crd(TENANT))
        await until(lambda: world.et(going) is None, what="the confirmed one is erased")
        await until(lambda: condition(world.et(kept), "Ready").get("reason") == "ErasureNotConfirmed")
        await op.look_at_everything()
        message = condition(world.et(kept), "Ready")["message"]
        assert f"kubectl annotate et {kept} elink-lc.com/confirm-erasure={kept}" in message
        assert "ElinkDeletionNotConfirmed" in message
        await until(lambda: "ErasureNotConfirmed" in reasons(world, kept), what="an Event")
        assert unconfirmed(op) == {kept}
        assert await traces(world, kept, uids[kept]) == there
        assert await rows_of(world, kept) == 5
        assert terminating(world, TENANT)
        assert await traces(world, going, uids[going]) == []
        assert len(records_of(world, uids[going])) == 1
        assert not records_of(world, uids[kept])

        world.change("ElinkTenant", kept, {"metadata": {"annotations": {"elink-lc.com/confirm-erasure": kept}}})
        await until(lambda: world.get(crd(TENANT)) is None, what="the CRD goes after the last tenant")
        assert await traces(world, kept, uids[kept]) == []
        assert len(records_of(world, uids[kept])) == 1

        await asyncio.to_thread(world.api.install_crds)
        again = world.unique("t")
        world.tenant(again, server=server)
        await until(lambda: is_ready(world.et(again)), what="the same operator works on")


async def test_servers_stay_until_their_tenants_are_erased(definitions: World) -> None:
    world = definitions
    name = world.unique("midori")
    world.secret(f"{name}-database")
    database = {"mode": "External", "secretRef": {"name": f"{name}-database"}}
    world.tenant(name, plan="Dedicated", size={"app": {"replicas": 1}, "database": database})
    namespace = f"/api/v1/namespaces/{naming.server_namespace(name)}"
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(name)))
        uid = (world.et(name) or {})["metadata"]["uid"]
        await fill(world, name, 5)
        world.delete(crd(SERVER))
        await until(partial(held_by_its_tenant, world, name), what="the server says who lives there")
        await op.look_at_everything()
        assert not deleting(world.get(namespace)), "namespace and volumes of a customer who works"
        assert not deleting(world.et(name))
        assert await rows_of(world, name) == 5
        # A deletion of the tenant that nobody confirmed is no leave to remove its server.
        world.delete(f"/apis/elink-lc.com/v1/elinktenants/{name}")
        await until(lambda: condition(world.et(name), "Ready").get("reason") == "ErasureNotConfirmed")
        await op.look_at_everything()
        assert not deleting(world.get(namespace))
        assert terminating(world, SERVER)
        world.change("ElinkTenant", name, {"metadata": {"annotations": {"elink-lc.com/confirm-erasure": name}}})
        await until(lambda: world.et(name) is None and world.get(crd(SERVER)) is None, timeout=180, what="all gone")
        assert world.get(namespace) is None
        assert len(records_of(world, uid)) == 1


def held_by_its_tenant(world: World, name: str) -> bool:
    server = world.es(name)
    return deleting(server) and f"tenants still live here ({name})" in condition(server, "Ready").get("message", "")
