"""Every owned object that is deleted or changed by hand comes back as declared."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from elink_operator import naming
from elink_operator.cluster.kinds import OWNED, SERVER, Kind

from tests.operator.reconcile.harness import SYSTEM, World, is_ready, until
from tests.operator.reconcile.test_life import events_about

MANAGED = "?labelSelector=app.kubernetes.io%2Fmanaged-by%3Delink-operator"
UNWATCHED = {"Job"}
"""A finished Job is evidence, not desired state; its template cannot be changed."""


def owned(world: World, kind: Kind, namespace: str) -> list[dict[str, Any]]:
    path = kind.path(namespace=namespace if kind.namespaced else None)
    return [o for o in world.items(path + MANAGED) if kind.namespaced or o["metadata"]["name"] == namespace]


def fields(value: Any) -> Any:
    """An object without what every write changes."""
    if isinstance(value, dict):
        skipped = {"resourceVersion", "uid", "creationTimestamp", "generation", "managedFields", "status"}
        skipped |= {"clusterIP", "clusterIPs"}
        skipped |= {"deployment.kubernetes.io/revision"}
        return {k: fields(v) for k, v in value.items() if k not in skipped}
    return [fields(v) for v in value] if isinstance(value, list) else value


async def test_deleted_objects_come_back_the_same(world: World) -> None:
    server, tenant = world.unique("shared"), world.unique("t")
    namespace = naming.server_namespace(server)
    world.server(server, app={"replicas": 1, "autoscaling": {"min": 1, "max": 2, "targetCPU": 70}})
    world.tenant(tenant)
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(tenant)))
        await op.settle()
        checked = 0
        for kind in OWNED:
            if kind.kind in UNWATCHED | {"Namespace", "PersistentVolumeClaim"}:
                continue
            for listed in owned(world, kind, namespace):
                path = kind.path(namespace=namespace, name=listed["metadata"]["name"])
                before = world.get(path) or {}
                world.delete(path)
                await until(partial(replaced, world, path, before), what=f"{path} put back")
                # A controller, or the next run, may add its part a moment later.
                await until(partial(is_again, world, path, before), what=f"{path} as it was")
                checked += 1
        assert checked >= 17, "objects were not even looked at"
        await until(lambda: is_ready(world.et(tenant)) and is_ready(world.es(server)))


def is_again(world: World, path: str, before: dict[str, Any] | None) -> bool:
    return bool(fields(world.get(path)) == fields(before))


def replaced(world: World, path: str, before: dict[str, Any]) -> dict[str, Any] | None:
    found = world.get(path)
    gone = found is None or found["metadata"]["uid"] == before["metadata"]["uid"]
    return None if gone else found


CHANGES: list[tuple[str, str, dict[str, Any]]] = [
    ("NetworkPolicy", "default-deny", {"spec": {"policyTypes": ["Ingress"]}}),
    ("NetworkPolicy", "allow-gateway", {"spec": {"ingress": [{}]}}),
    ("Service", "web", {"spec": {"selector": {"elink-lc.com/component": "worker"}}}),
    ("ServiceAccount", "elink", {"automountServiceAccountToken": True}),
    ("ResourceQuota", "server", {"spec": {"hard": {"services.nodeports": "5"}}}),
    ("LimitRange", "defaults", {"spec": {"limits": []}}),
    ("PodDisruptionBudget", "web", {"spec": {"maxUnavailable": 2}}),
    ("Deployment", "web", {"spec": {"replicas": 7}}),
    ("Deployment", "worker", {"spec": {"paused": True}}),
    ("HTTPRoute", "tenant", {"spec": {"hostnames": ["evil.example.jp"]}}),
    ("CronJob", "backup", {"spec": {"suspend": True, "schedule": "0 0 1 1 *"}}),
    ("Secret", "tenant", {"data": {"password": "d3Jvbmc="}}),
    ("Namespace", "", {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}),
]


@pytest.mark.timeout(600)
async def test_changed_objects_are_put_right(world: World) -> None:
    server, tenant = world.unique("shared"), world.unique("t")
    namespace = naming.server_namespace(server)
    world.server(server)
    world.tenant(tenant)
    kinds = {k.kind: k for k in OWNED}
    names = {"HTTPRoute": f"tenant-{tenant}", "CronJob": f"backup-{tenant}", "Secret": f"tenant-{tenant}"}
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(tenant)))
        await op.settle()
        for kind_name, name, change in CHANGES:
            kind = kinds[kind_name]
            target = namespace if kind_name == "Namespace" else names.get(kind_name, name)
            path = kind.path(namespace=namespace, name=target)
            before = world.get(path)
            code, answer = world.patch(path, change, "application/merge-patch+json")
            assert code == 200, answer
            await until(partial(is_again, world, path, before), what=f"{path} put right after {change}")
        await op.settle()


async def test_a_lost_registry_row_comes_back(world: World) -> None:
    server, tenant = world.unique("shared"), world.unique("t")
    world.server(server)
    world.tenant(tenant)
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(tenant)))
        await op.settle()
        await world.sql("elink_registry", "DELETE FROM tenant WHERE name = $1", tenant)
        op.ctx.memory.looked.clear()
        op.ctx.wake("server", server)

        async def back() -> bool:
            return bool(await world.sql("elink_registry", "SELECT 1 FROM tenant WHERE name = $1", tenant))

        await until(back, what="the row")


async def test_a_registry_row_changed_by_hand_is_put_right(world: World) -> None:
    server, tenant = world.unique("shared"), world.unique("t")
    world.server(server)
    world.tenant(tenant)
    rows = "SELECT host, state FROM tenant WHERE name = $1"
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(tenant)))
        await op.settle()
        before = await world.sql("elink_registry", rows, tenant)
        change = "UPDATE tenant SET host = 'evil.example.jp', state = 'Suspended' WHERE name = $1"
        await world.sql("elink_registry", change, tenant)
        op.ctx.memory.looked.clear()
        op.ctx.wake("server", server)

        async def back() -> bool:
            return bool(await world.sql("elink_registry", rows, tenant) == before)

        await until(back, what="row as declared")


async def test_a_dedicated_tenants_server_is_kept_as_the_tenant_says(world: World) -> None:
    name = world.unique("midori")
    world.secret(f"{name}-database")
    database = {"mode": "External", "secretRef": {"name": f"{name}-database"}}
    world.tenant(name, plan="Dedicated", size={"app": {"replicas": 1}, "database": database})
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(name)))
        world.change(SERVER.kind, name, {"spec": {"app": {"replicas": 9}}})
        await until(lambda: (world.es(name) or {})["spec"]["app"]["replicas"] == 1)
        await op.settle()
        told = [e for e in events_about(world, name) if e["reason"] == "SizePutBack"]
        assert len(told) == 1
        assert f"change spec.size.app of the tenant instead ('kubectl edit et {name}')" in told[0]["message"]
        world.change("ElinkTenant", name, {"spec": {"size": {"app": {"replicas": 2}}}})
        await until(lambda: (world.es(name) or {})["spec"]["app"]["replicas"] == 2)
        await op.settle()
        told = [e for e in events_about(world, name) if e["reason"] == "SizePutBack"]
        assert len(told) == 1, "the tenant's own change is none by hand"
        assert world.get(f"/api/v1/namespaces/{SYSTEM}/secrets/elink-{name}-master") is not None
