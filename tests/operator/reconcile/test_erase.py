"""An erasure leaves nothing of the tenant and everything of its neighbours; whatever is unknown holds it."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from elink_operator import naming
from elink_operator.api.erasure import verify
from elink_operator.database import Databases, DatabaseUnavailable

from tests.operator.reconcile.harness import SYSTEM, Operator, World, condition, is_ready, until

JOURNAL = "00aa"
SNAPSHOT = "0123456789abcdef" * 4
KINDS = [
    "/api/v1/secrets",
    "/apis/gateway.networking.k8s.io/v1/httproutes",
    "/apis/batch/v1/cronjobs",
    "/apis/batch/v1/jobs",
]


async def fill(world: World, tenant: str, rows: int) -> None:
    connection = await world.postgres.connect(naming.tenant_database(tenant))
    await connection.executemany("INSERT INTO address (name) VALUES ($1)", [(f"秘密 {n}",) for n in range(rows)])
    await connection.close()


async def rows_of(world: World, tenant: str) -> int:
    return int((await world.sql(naming.tenant_database(tenant), "SELECT count(*) FROM address"))[0][0])


async def traces(world: World, tenant: str, uid: str) -> list[str]:
    """Everything that is left of a tenant, anywhere."""
    name = naming.tenant_database(tenant)
    found = [
        f"database {r[0]}"
        for r in await world.sql("postgres", "SELECT datname FROM pg_database WHERE datname = $1", name)
    ]
    found += [
        f"role {r[0]}" for r in await world.sql("postgres", "SELECT rolname FROM pg_roles WHERE rolname = $1", name)
    ]
    found += [
        f"row {r[0]}" for r in await world.sql("elink_registry", "SELECT name FROM tenant WHERE name = $1", tenant)
    ]
    found += [
        f"marked database {r[0]}"
        for r in await world.sql(
            "postgres",
            "SELECT datname FROM pg_database WHERE shobj_description(oid, 'pg_database') = $1",
            f"elink tenant {uid}",
        )
    ]
    for path in KINDS:
        for obj in world.items(f"{path}?labelSelector=elink-lc.com%2Ftenant%3D{tenant}"):
            if not obj["metadata"]["name"].startswith(("erase-", "forget-")):
                found.append(f"{path} {obj['metadata']['name']}")
    for journal in world.standin.volumes.glob("*/files/journals/*"):
        if f'"{tenant}"' in journal.read_text():
            found.append(str(journal))
    for volume in world.standin.volumes.glob(f"*/*/{tenant}"):
        found.append(str(volume))
    for volume in world.standin.volumes.glob(f"*/files/tenants/{tenant}"):
        found.append(str(volume))
    return found


def plant_files(world: World, server: str, tenant: str) -> None:
    namespace = naming.server_namespace(server)
    for path in (
        world.standin.folder(namespace, "files") / "tenants" / tenant / "秘密.txt",
        world.standin.folder(namespace, "backups") / tenant / "repository" / "snapshots" / SNAPSHOT,
    ):
        path.parent.mkdir(parents=True)
        path.write_text("秘密")
    journals = world.standin.folder(namespace, "files") / "journals"
    journals.mkdir(exist_ok=True)
    for number in range(2):
        with (journals / f"{number}-{JOURNAL}.journal").open("a") as journal:
            journal.write(f'["C","{tenant}",7,[[{number},1]]]\n')


async def test_nothing_is_left_and_neighbours_with_similar_names_are_untouched(world: World) -> None:
    server = world.unique("shared")
    victim = world.unique("t")
    neighbours = [f"{victim}-x", victim[:-1]]
    world.server(server)
    for name in (victim, *neighbours):
        world.tenant(name)
    async with world.operator():
        for name in (victim, *neighbours):
            await until(partial(tenant_is_ready, world, name))
            await fill(world, name, 5)
            plant_files(world, server, name)
        uid = (world.et(victim) or {})["metadata"]["uid"]
        assert len(await traces(world, victim, uid)) >= 11, "the search must find what is there"
        busy = await world.postgres.connect(naming.tenant_database(victim), "elink_app", world.postgres.app_password)
        world.change("ElinkTenant", victim, {"spec": {"state": "Cancelled"}})
        world.delete(f"/apis/elink-lc.com/v1/elinktenants/{victim}")
        seen: list[Any] = []
        await until(lambda: keep(seen, world.et(victim)) is None, what="erased")
        assert await traces(world, victim, uid) == []
        assert busy.is_closed()
        check_record(world, victim, uid)
        steps = {s["name"]: s for s in last_erasure(seen)["steps"]}
        assert steps["FilesAndBackups"]["done"]
        expected = (
            "NeighboursCounted Route BackupSchedule Database DatabaseResidue FilesAndBackups ServerBackups Secrets "
            "NeighboursUnharmed"
        )
        assert list(steps) == expected.split()
        for name in neighbours:
            assert await rows_of(world, name) == 5
            assert len(await traces(world, name, (world.et(name) or {})["metadata"]["uid"])) >= 11
            assert is_ready(world.et(name))


def records_of(world: World, uid: str) -> list[Any]:
    found = world.items("/apis/elink-lc.com/v1/elinkerasures")
    return [r for r in found if r["spec"]["tenantUid"] == uid]


def check_record(world: World, victim: str, uid: str) -> None:
    """One record, in an unbroken chain, that names every place."""
    [record] = records_of(world, uid)
    spec = record["spec"]
    assert verify(world.items("/apis/elink-lc.com/v1/elinkerasures"), head=spec["hash"]).intact
    places: dict[str, list[Any]] = {}
    for place in spec["stores"]:
        places.setdefault(place["store"], []).append(place)
        assert place["recheck"] == "asked again: nothing found"
        assert place["removedAt"] <= place["recheckedAt"] <= spec["erasedAt"]
        assert place["removedAt"].endswith("+09:00")
    expected = (
        "BackupGeneration BackupKey BackupSchedule BackupStore Database DeadRows DeliveryJournals Directory "
        "RegistryRow Role Route Secret ServerBackups"
    )
    assert sorted(places) == expected.split()
    assert [p["name"] for p in places["BackupGeneration"]] == [SNAPSHOT[:8]]
    assert places["Database"][0]["name"] == naming.tenant_database(victim)
    assert places["Directory"][0]["removed"] == "1 files removed"
    assert places["DeliveryJournals"][0]["removed"] == "2 lines of the tenant removed"
    assert len(places["Secret"]) == len(places["BackupKey"]) == 2
    assert {key["removed"] for key in places["BackupKey"]} == {"removed"}
    assert spec["cancelledAt"] <= spec["startedAt"] <= spec["erasedAt"]
    assert all(remaining["until"] > spec["erasedAt"] for remaining in spec["remains"])
    assert "秘密" not in json.dumps(record, ensure_ascii=False)


def tenant_is_ready(world: World, name: str) -> bool:
    return is_ready(world.et(name))


def keep(seen: list[Any], found: Any) -> Any:
    seen.append(found)
    return found


def last_erasure(seen: list[Any]) -> Any:
    return next(o["status"]["erasure"] for o in reversed(seen) if o and "erasure" in o.get("status", {}))


@pytest.mark.parametrize("deleted", [False, True])
async def test_harm_to_a_neighbour_stops_every_erasure_until_a_human_has_looked(
    world: World, monkeypatch: pytest.MonkeyPatch, deleted: bool
) -> None:
    """Also to one that was deleted without a confirmation: it keeps its data."""
    server = world.unique("shared")
    victim, neighbour, later = world.unique("v"), world.unique("n"), world.unique("w")
    world.server(server)
    for name in (victim, neighbour, later):
        world.tenant(name)
    real, away = Databases.drop_tenant, list[str]()

    async def destructive(self: Databases, target: Any, doomed: Any) -> Any:
        """The fault: while the victim is dropped, the neighbour's rows vanish too."""
        if doomed.name in away:
            raise DatabaseUnavailable("cut off")
        if doomed.name == victim:
            await world.sql(naming.tenant_database(neighbour), "DELETE FROM address")
        return await real(self, target, doomed)

    monkeypatch.setattr(Databases, "drop_tenant", destructive)
    async with world.operator() as op:
        for name in (victim, neighbour, later):
            await until(partial(tenant_is_ready, world, name))
            await fill(world, name, 3)
        if deleted:
            world.delete(f"/apis/elink-lc.com/v1/elinktenants/{neighbour}")
            await until(lambda: condition(world.et(neighbour), "Ready").get("reason") == "ErasureNotConfirmed")
        erase_now(world, victim)
        found = await until(
            lambda: condition(world.et(victim), "Ready").get("reason") == "NeighboursHarmed" and world.et(victim),
        )
        message = condition(found, "Ready")["message"]
        assert f"database {naming.tenant_database(neighbour)} lost all of its rows" in message.replace(
            "table address of ", ""
        )
        await until(lambda: alarms(op, server) == 1, what="the metric behind the alert")
        # Looking again fails: the harm is as it was.
        away.append(victim)
        op.ctx.wake("tenant", victim)
        await until(lambda: condition(world.et(victim), "Ready").get("reason") == "AnswerUnknown")
        erase_now(world, later)
        await until(lambda: condition(world.et(later), "Ready").get("reason") == "StoppedByNeighbour")
        assert await rows_of(world, later) == 3
        assert alarms(op, server) == 1
        away.clear()
        world.change("ElinkTenant", victim, {"metadata": {"annotations": {"elink-lc.com/neighbours-checked": victim}}})
        await until(lambda: world.et(victim) is None, what="released by a human")
        op.ctx.wake("tenant", later)
        await until(lambda: world.et(later) is None, what="the next erasure goes on")


LOSSES = {
    "lost all of its rows": ["DELETE FROM address"],
    "table note": ["DROP TABLE note"],
    "was replaced": [],
}


@pytest.mark.parametrize("loss", LOSSES)
async def test_harm_is_noticed_after_a_restart_of_the_operator_too(
    world: World, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    server, victim, neighbour = world.unique("shared"), world.unique("v"), world.unique("n")
    database = naming.tenant_database(neighbour)
    world.server(server)
    for name in (victim, neighbour):
        world.tenant(name)

    done: list[Any] = []

    async def destructive(self: Databases, target: Any, doomed: Any) -> Any:
        """The fault: the neighbour is hit, and the operator does not come further."""
        if not done:
            done.append(doomed)
            for statement in LOSSES[loss]:
                await world.sql(database, statement)
            if not LOSSES[loss]:
                await replace_database(world, database)
        raise DatabaseUnavailable("cut off")

    async with world.operator():
        for name in (victim, neighbour):
            await until(partial(tenant_is_ready, world, name))
            await fill(world, name, 3)
        # Another table that keeps its rows: their sum over the database says nothing.
        await world.sql(database, "CREATE TABLE note AS SELECT * FROM address")
        await world.sql(database, f'ALTER TABLE note OWNER TO "{database}"')
        with monkeypatch.context() as patch:
            patch.setattr(Databases, "drop_tenant", destructive)
            erase_now(world, victim)
            await until(lambda: "cut off" in condition(world.et(victim), "Ready").get("message", ""))
    async with world.operator() as op:
        found = await until(lambda: harmed(world, victim))
        assert f"database {database}" in found["message"]
        assert loss in found["message"]
        await until(lambda: alarms(op, server) == 1, what="the metric behind the alert")


async def test_a_restart_amid_an_erasure_is_no_harm(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    server, victim, neighbour = world.unique("shared"), world.unique("v"), world.unique("n")
    world.server(server)
    for name in (victim, neighbour):
        world.tenant(name)

    async def cut(self: Databases, target: Any, doomed: Any) -> Any:
        raise DatabaseUnavailable("cut off")

    async with world.operator():
        for name in (victim, neighbour):
            await until(partial(tenant_is_ready, world, name))
            await fill(world, name, 3)
        with monkeypatch.context() as patch:
            patch.setattr(Databases, "drop_tenant", cut)
            erase_now(world, victim)
            await until(lambda: "cut off" in condition(world.et(victim), "Ready").get("message", ""))
    # The customer goes on working.
    await world.sql(naming.tenant_database(neighbour), "DELETE FROM address WHERE id = 1")
    async with world.operator():
        await until(lambda: world.et(victim) is None, what="erased")
    assert await rows_of(world, neighbour) == 2


async def test_an_erasure_that_is_no_longer_confirmed_does_not_say_that_nothing_was_erased(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, victim = world.unique("shared"), world.unique("v")
    world.server(server)
    world.tenant(victim)

    async def cut(self: Databases, target: Any, doomed: Any) -> Any:
        raise DatabaseUnavailable("cut off")

    monkeypatch.setattr(Databases, "drop_tenant", cut)
    async with world.operator():
        await until(partial(tenant_is_ready, world, victim))
        erase_now(world, victim)
        await until(lambda: "cut off" in condition(world.et(victim), "Ready").get("message", ""))
        world.change("ElinkTenant", victim, {"metadata": {"annotations": {"elink-lc.com/confirm-erasure": None}}})
        await until(lambda: condition(world.et(victim), "Ready").get("reason") == "ErasureNotConfirmed")
        message = condition(world.et(victim), "Ready")["message"]
        assert "had begun" in message
        assert "nothing is erased" not in message
        assert f"confirm-erasure={victim}" in message


def alarms(op: Operator, server: str) -> float | None:
    return op.engine.metrics.registry.get_sample_value("elink_erasure_neighbours_harmed", {"server": server})


def harmed(world: World, tenant: str) -> Any:
    found = condition(world.et(tenant), "Ready")
    return found if found.get("reason") == "NeighboursHarmed" else None


async def replace_database(world: World, database: str) -> None:
    """The same content under the same name, but another database."""
    connection = await world.postgres.connect()
    try:
        marker = await connection.fetchval(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1", database
        )
        await connection.execute(f'CREATE DATABASE copied TEMPLATE "{database}"')
        await connection.execute(f'DROP DATABASE "{database}" WITH (FORCE)')
        await connection.execute(f'ALTER DATABASE copied RENAME TO "{database}"')
        await connection.execute(f"COMMENT ON DATABASE \"{database}\" IS '{marker}'")
    finally:
        await connection.close()


def erase_now(world: World, tenant: str) -> None:
    world.change("ElinkTenant", tenant, {"metadata": {"annotations": {"elink-lc.com/confirm-erasure": tenant}}})
    world.delete(f"/apis/elink-lc.com/v1/elinktenants/{tenant}")


async def test_what_cannot_be_asked_is_not_taken_for_erased(world: World, own_postgres: Any) -> None:
    world.postgres = own_postgres
    server, tenant = world.unique("shared"), world.unique("t")
    world.server(server)
    world.tenant(tenant)
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(tenant)))
        own_postgres.stop("immediate")
        erase_now(world, tenant)
        await until(lambda: condition(world.et(tenant), "Ready").get("reason") == "AnswerUnknown")
        held = world.et(tenant)
        assert held is not None
        assert naming.FINALIZER in held["metadata"]["finalizers"]
        own_postgres.start()
        op.ctx.wake("tenant", tenant)
        await until(lambda: world.et(tenant) is None, what="erased after PostgreSQL came back")


async def test_a_server_that_vanished_holds_the_tenant_with_advice(world: World) -> None:
    server, tenant = world.unique("shared"), world.unique("t")
    world.server(server)
    world.tenant(tenant)
    async with world.operator():
        await until(lambda: is_ready(world.et(tenant)))
        path = f"/apis/elink-lc.com/v1/elinkservers/{server}"
        world.patch(path, {"metadata": {"finalizers": None}}, "application/merge-patch+json")
        world.delete(path)
        erase_now(world, tenant)
        await until(lambda: condition(world.et(tenant), "Ready").get("reason") == "ServerMissing")
        assert "Create the server again" in condition(world.et(tenant), "Ready")["message"]
        world.server(server)
        await until(lambda: world.et(tenant) is None, what="erased after the server came back")


async def test_never_placed_tenants_go_at_once(world: World) -> None:
    tenant = world.unique("t")
    world.tenant(tenant)
    async with world.operator():
        await until(lambda: condition(world.et(tenant), "Ready").get("reason") == "NoSharedServer")
        erase_now(world, tenant)
        await until(lambda: world.et(tenant) is None)


async def test_an_erase_job_of_an_earlier_tenant_is_no_evidence(world: World) -> None:
    server, tenant = world.unique("shared"), world.unique("t")
    world.server(server)
    async with world.operator():
        for _ in range(2):
            world.tenant(tenant)
            await until(lambda: is_ready(world.et(tenant)))
            uid = (world.et(tenant) or {})["metadata"]["uid"]
            plant_files(world, server, tenant)
            erase_now(world, tenant)
            await until(lambda: world.et(tenant) is None)
            assert await traces(world, tenant, uid) == []
        assert world.standin.ran.count("erase") == 2


async def test_dedicated_goes_with_server_namespace_and_volumes(world: World) -> None:
    name = world.unique("midori")
    namespace = naming.server_namespace(name)
    world.secret(f"{name}-database")
    database = {"mode": "External", "secretRef": {"name": f"{name}-database"}}
    world.tenant(name, plan="Dedicated", size={"app": {"replicas": 1}, "database": database})
    async with world.operator():
        await until(lambda: is_ready(world.et(name)))
        assert condition(world.et(name), "ServerReady")["status"] == "True"
        uid = (world.et(name) or {})["metadata"]["uid"]
        await until(lambda: volumes(world, namespace), what="volumes of the server")
        assert (world.es(name) or {})["metadata"]["ownerReferences"][0]["uid"] == uid
        world.standin.provision = False
        erase_now(world, name)
        # The namespace can go, the volumes cannot yet: the tenant must wait for them.
        await until(lambda: world.get(f"/api/v1/namespaces/{namespace}") is None)
        await until(lambda: "volumes of namespace" in condition(world.es(name), "Ready").get("message", ""))
        assert world.et(name) is not None
        world.standin.provision = True
        await until(lambda: world.et(name) is None, what="tenant gone")
        assert world.es(name) is None
        assert volumes(world, namespace) == []
        assert await traces(world, name, uid) == []
        assert world.get(f"/api/v1/namespaces/{SYSTEM}/secrets/elink-{name}-master") is None


def volumes(world: World, namespace: str) -> list[str]:
    found = world.items("/api/v1/persistentvolumes")
    return [v["metadata"]["name"] for v in found if v["spec"]["claimRef"]["namespace"] == namespace]


async def test_a_server_with_tenants_is_not_removed(world: World) -> None:
    server, tenant = world.unique("shared"), world.unique("t")
    world.server(server)
    world.tenant(tenant)
    async with world.operator() as op:
        await until(lambda: is_ready(world.et(tenant)))
        world.delete(f"/apis/elink-lc.com/v1/elinkservers/{server}")
        await until(lambda: "tenants still live here" in condition(world.es(server), "Ready").get("message", ""))
        await op.settle()
        assert await rows_of(world, tenant) == 0
        erase_now(world, tenant)
        await until(lambda: world.et(tenant) is None)
        await until(lambda: world.es(server) is None, what="server gone after its last tenant")
        assert world.get(f"/api/v1/namespaces/{naming.server_namespace(server)}") is None
