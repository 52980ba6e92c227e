"""Reasons that people read when something is in the way: each is seen, says what to do, and goes with its cause."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from elink_operator import labels, naming
from elink_operator.desired import deployment

from tests.operator.reconcile.harness import SYSTEM, Obj, World, condition, is_ready, until
from tests.operator.reconcile.test_erase import erase_now, fill, plant_files, traces
from tests.support.standin import erase


def has_reason(world: World, kind: str, name: str, type_: str, reason: str) -> Obj | None:
    """The condition when it has the reason."""
    found = condition(world.et(name) if kind == "et" else world.es(name), type_)
    return found if found.get("reason") == reason else None


def event_of(world: World, name: str, reason: str) -> Obj | None:
    """The Event about an object that gives the reason."""
    listed = world.items("/api/v1/namespaces/default/events")
    return next((e for e in listed if e["involvedObject"]["name"] == name and e["reason"] == reason), None)


async def test_a_server_of_the_same_name_that_appears_meanwhile_is_not_taken_over(world: World) -> None:
    name = world.unique("midori")
    async with world.operator() as op:
        # Admission and the standing rules saw no such server; it is made while the placement is being written.
        held = world.proxy.hold(method="PATCH", path=f"elinktenants/{name}", times=1)
        world.tenant(name, plan="Dedicated")
        await until(lambda: held.hits, what="the placement is on its way")
        world.server(name)
        held.go.set()
        found = await until(lambda: event_of(world, name, "ServerNameTaken"), what="ServerNameTaken")
        assert "remove it, or delete this tenant" in found["message"]
        assert "ownerReferences" not in (world.es(name) or {})["metadata"]
        # Looked at again it is a rule that says so; the server stays somebody else's.
        op.ctx.wake("tenant", name)
        await until(lambda: has_reason(world, "et", name, "Ready", "NotAllowed"))
        assert (world.es(name) or {})["spec"]["tenancy"] == "Shared"


async def test_a_template_that_only_the_operator_changed_is_held_back_until_somebody_asks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = world.unique("shared")
    path = f"/apis/apps/v1/namespaces/{naming.server_namespace(server)}/deployments/web"
    world.server(server)
    async with world.operator():
        await until(lambda: is_ready(world.es(server)))
    before = (world.get(path) or {})["spec"]["template"]
    monkeypatch.setattr(deployment, "_DRAIN_SECONDS", 7)
    async with world.operator():
        found = await until(lambda: has_reason(world, "es", server, "Ready", "UpdateHeld"), what="UpdateHeld")
        assert found["status"] == "True"
        assert labels.TAKE_UPDATE in found["message"]
        assert (world.get(path) or {})["spec"]["template"] == before
        world.change("ElinkServer", server, {"metadata": {"annotations": {labels.TAKE_UPDATE: "now"}}})
        await until(lambda: (world.get(path) or {})["spec"]["template"] != before, what="the new template")
        await until(lambda: has_reason(world, "es", server, "Ready", "AsDeclared"))


async def test_a_failed_erase_job_is_told_and_replaced_after_two_minutes(world: World) -> None:
    server, tenant = world.unique("shared"), world.unique("t")
    job = f"/apis/batch/v1/namespaces/{naming.server_namespace(server)}/jobs/{naming.erase_job(tenant)}"
    world.server(server)
    world.tenant(tenant)

    async def broken(*_: Any) -> tuple[int, str]:
        return 1, "input/output error"

    world.standin._programs["erase"] = broken
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(tenant)))
        uid = (world.et(tenant) or {})["metadata"]["uid"]
        plant_files(world, server, tenant)
        erase_now(world, tenant)
        first = await until(lambda: world.get(job), what="erase Job")
        # The Job controller would try for minutes: say at once that it gave up.
        world.patch(job, {"spec": {"activeDeadlineSeconds": 1}}, "application/merge-patch+json")
        found = await until(lambda: has_reason(world, "et", tenant, "Ready", "EraseJobFailed"))
        assert "replaced in two minutes" in found["message"]
        assert f"job/{naming.erase_job(tenant)}" in found["message"]
        failed = next(c for c in (world.get(job) or {})["status"]["conditions"] if c["type"] == "Failed")
        since = datetime.fromisoformat(failed["lastTransitionTime"])
        op.clock.stopped_at = since + timedelta(minutes=2)
        op.ctx.wake("tenant", tenant)
        await op.settle()
        assert (world.get(job) or {})["metadata"]["uid"] == first["metadata"]["uid"], "replaced too early"
        assert naming.FINALIZER in (world.et(tenant) or {})["metadata"]["finalizers"]
        assert await traces(world, tenant, uid) != [], "the files are still there"
        world.standin._programs["erase"] = erase
        op.clock.stopped_at = since + timedelta(minutes=2, seconds=1)
        op.ctx.wake("tenant", tenant)
        await until(lambda: world.et(tenant) is None, what="erased by another Job")
        assert await traces(world, tenant, uid) == []


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"password": ""}, " lacks password"),
        ({"port": "postgres"}, " lacks port"),
        ({"sslmode": "verify-full"}, " lacks ca.crt"),
        ({"sslmode": "always"}, ": sslmode is 'always'; use one of"),
        ({"ca.crt": "-----BEGIN PRIVATE KEY-----"}, ": ca.crt is no certificate"),
    ],
)
async def test_an_incomplete_secret_of_an_external_database_is_told(
    world: World, values: dict[str, str], told: str
) -> None:
    server = world.unique("shared")
    world.server(server)
    world.secret(f"{server}-database", **values)
    async with world.operator() as op:
        found = await until(lambda: has_reason(world, "es", server, "Ready", "SecretIncomplete"))
        assert f"{SYSTEM}/{server}-database{told}" in found["message"]
        world.secret(f"{server}-database", **dict.fromkeys(values.keys() - {"password", "port"}, ""))
        op.ctx.wake("server", server)
        await until(lambda: is_ready(world.es(server)), what="Ready once the Secret is complete")


async def test_missing_credentials_of_a_server_hold_its_tenants_and_their_erasures(world: World) -> None:
    server, tenant, doomed = world.unique("shared"), world.unique("t"), world.unique("d")
    world.server(server)
    for name in (tenant, doomed):
        world.tenant(name)
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(tenant)) and is_ready(world.et(doomed)))
        await fill(world, doomed, 2)
        world.delete(f"/api/v1/namespaces/{SYSTEM}/secrets/{server}-database")
        op.ctx.memory.external.clear()
        world.change("ElinkTenant", tenant, {"spec": {"displayName": "別の名前"}})
        found = await until(lambda: has_reason(world, "et", tenant, "DatabaseReady", "CredentialsMissing"))
        assert f"server {server}" in found["message"]
        erase_now(world, doomed)
        await until(lambda: world.et(doomed)["status"].get("phase") == "Erasing")
        found = await until(lambda: has_reason(world, "et", doomed, "Ready", "CredentialsMissing"))
        assert f"restore the Secret {SYSTEM}/{server}-database" in found["message"]
        rows = await world.sql(naming.tenant_database(doomed), "SELECT count(*) FROM address")
        assert rows[0][0] == 2
        world.secret(f"{server}-database")
        op.ctx.memory.external.clear()
        for name in (tenant, doomed):
            op.ctx.wake("tenant", name)
        await until(lambda: world.et(doomed) is None, what="erased once the Secret is back")
        await until(lambda: is_ready(world.et(tenant)))


async def test_a_namespace_that_is_going_is_waited_for(world: World) -> None:
    server = world.unique("shared")
    namespace = naming.server_namespace(server)
    path = f"/api/v1/namespaces/{namespace}/configmaps/holds"
    world.server(server)
    async with world.operator():
        await until(lambda: is_ready(world.es(server)))
        held = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "holds", "finalizers": ["example.jp/hold"]},
        }
        code, answer = world.api.request("POST", f"/api/v1/namespaces/{namespace}/configmaps", held)
        assert code == 201, answer
        uid = (world.get(f"/api/v1/namespaces/{namespace}") or {})["metadata"]["uid"]
        world.delete(f"/api/v1/namespaces/{namespace}")
        found = await until(lambda: has_reason(world, "es", server, "Ready", "NamespaceTerminating"))
        assert "made again when it is gone" in found["message"]
        world.patch(path, {"metadata": {"finalizers": None}}, "application/merge-patch+json")
        await until(partial(is_ready_in_another, world, server, namespace, uid), what="made again")


def is_ready_in_another(world: World, server: str, namespace: str, uid: str) -> bool:
    found = world.get(f"/api/v1/namespaces/{namespace}")
    return found is not None and found["metadata"]["uid"] != uid and is_ready(world.es(server))


async def test_a_tenant_says_that_it_waits_for_its_server(world: World) -> None:
    server, tenant = world.unique("shared"), world.unique("t")
    goes_on = asyncio.Event()
    migrate = world.standin._programs["migrate"]

    async def slow(*arguments: Any) -> tuple[int, str]:
        await goes_on.wait()
        result: tuple[int, str] = await migrate(*arguments)
        return result

    world.standin._programs["migrate"] = slow
    world.server(server)
    async with world.operator():
        await until(lambda: condition(world.es(server), "Ready").get("status") == "False")
        world.tenant(tenant, server=server)
        for type_ in ("DatabaseReady", "RouteReady"):
            found = await until(partial(has_reason, world, "et", tenant, type_, "WaitingForServer"), what=type_)
            assert found["status"] == "False"
            assert server in found["message"]
        goes_on.set()
        await until(lambda: is_ready(world.et(tenant)), what="Ready after its server")
