"""A Shared tenant from YAML to Ready, at rest, and after a restart."""

from __future__ import annotations

import base64
import re

from elink_operator import naming

from tests.operator.reconcile.harness import SYSTEM, World, condition, is_ready, until


async def test_server_and_tenant_become_ready(world: World) -> None:
    server, tenant = world.unique("shared"), world.unique("aozora")
    world.server(server)
    world.tenant(tenant, limits={"addresses": 5000, "mailsPerHour": 500, "storage": "1Gi"})
    async with world.operator():
        await until(lambda: is_ready(world.es(server)), what="server Ready")
        await until(lambda: is_ready(world.et(tenant)), what="tenant Ready")

        found = world.et(tenant)
        assert found is not None
        status = found["status"]
        assert status["server"] == server
        assert status["serverReason"] == "the only open server in region jp: 0 of 200 places taken"
        assert status["url"] == f"https://{tenant}.elink.localhost"
        assert status["database"] == naming.tenant_database(tenant)
        assert status["phase"] == "Active"
        assert condition(found, "BackupHealthy")["status"] == "Unknown"
        assert condition(found, "DatabaseReady")["status"] == "True"
        assert condition(found, "RouteReady")["status"] == "True"

        namespace = naming.server_namespace(server)
        secret = world.get(f"/api/v1/namespaces/{namespace}/secrets/{naming.tenant_secret(tenant)}")
        assert secret is not None
        values = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
        connection = await world.postgres.connect(values["database"], values["username"], values["password"])
        assert await connection.fetchval("SELECT count(*) FROM address") == 0
        await connection.close()

        master = world.get(f"/api/v1/namespaces/{SYSTEM}/secrets/elink-{tenant}-master")
        assert master is not None
        link = base64.b64decode(master["data"]["setup-url"]).decode()
        assert re.fullmatch(rf"https://{tenant}\.elink\.localhost/setup\?token=[\w-]{{43}}", link)
        assert base64.b64decode(master["data"]["email"]) == b"kanri@example.jp"

        row = (await world.sql("elink_registry", "SELECT * FROM tenant WHERE name = $1", tenant))[0]
        assert row["state"] == "Active"
        assert row["directory"] == tenant
        assert row["setup_token_sha256"] == master["metadata"]["annotations"]["elink-lc.com/token-sha256"]
        await until(lambda: (world.es(server) or {})["status"]["tenants"] == 1, what="server counts its tenant")


async def test_writes_per_tenant_and_none_at_rest_and_none_after_a_restart(world: World) -> None:
    server = world.unique("shared")
    world.server(server)
    async with world.operator() as op:
        await until(lambda: is_ready(world.es(server)), what="server Ready")
        await op.settle()
        world.proxy.seen.clear()
        # A Gateway that takes longer than its patience would cost a status more, on a busy machine.
        op.clock.stopped_at = op.clock()
        tenant = world.unique("t")
        world.tenant(tenant)
        await until(lambda: is_ready(world.et(tenant)), what="tenant Ready")
        await op.settle(quiet=2.5)
        mine = [seen for seen in world.proxy.writes() if tenant in seen.path]
        assert len(mine) == 6, mine
        assert [s for s in world.proxy.seen if s.method == "GET" and tenant in s.path] == []

        world.proxy.seen.clear()
        await op.look_at_everything()
        await op.look_at_everything()
        assert world.proxy.calls() == []

    world.proxy.seen.clear()
    async with world.operator() as op:
        await until(lambda: op.engine.triggers.active)
        await op.settle(quiet=1.5)
        assert world.proxy.writes() == []
        reads = [s for s in world.proxy.calls() if s.method == "GET"]
        single = [s for s in reads if "limit=" not in s.path]
        # Per server, not per tenant: its Secret, and the platform's Secret of an External database.
        assert len(single) <= 2, single


async def test_every_wait_is_explained_and_ends_by_itself(world: World) -> None:
    tenant, server = world.unique("t"), world.unique("shared")
    world.tenant(tenant)
    world.standin.accept_routes = False
    async with world.operator() as op:
        found = await until(lambda: condition(world.et(tenant), "Ready"), what="first condition")
        assert (found["status"], found["reason"]) == ("False", "NoSharedServer")
        assert "create one in region jp" in found["message"]
        events = await until(
            lambda: [
                e
                for e in world.items("/api/v1/namespaces/default/events")
                if e["involvedObject"]["name"] == tenant and e["reason"] != "Created"
            ]
        )
        assert events[0]["reason"] == "NoSharedServer"

        world.standin.ready = False
        world.server(server)
        await until(lambda: condition(world.et(tenant), "Ready").get("reason") == "NoPodReady", what="waits for pods")
        world.standin.ready = True
        await until(lambda: condition(world.et(tenant), "Ready").get("reason") == "WaitingForGateway")
        world.standin.accept_routes = True
        await until(lambda: is_ready(world.et(tenant)), what="tenant Ready in the end")
        await op.settle()
        reasons = [
            e["reason"]
            for e in world.items("/api/v1/namespaces/default/events")
            if e["involvedObject"]["name"] == tenant
        ]
        assert reasons.count("NoSharedServer") == 1
        assert "AsDeclared" in reasons
