"""A server's life: versions, sizes, scale, PostgreSQL of its own, isolation, the real migration, backups."""

from __future__ import annotations

import json
from base64 import b64decode
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from elink_operator import naming

from tests.operator.reconcile.harness import World, condition, is_ready, until
from tests.operator.reconcile.test_erase import tenant_is_ready
from tests.support.standin import migrate_with_app
from tests.tenant_app.mail.tls import make_contexts

SMALL = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}}
LARGE = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "2", "memory": "512Mi"}}


def deployment(world: World, server: str, name: str = "web") -> dict[str, Any]:
    found = world.get(f"/apis/apps/v1/namespaces/{naming.server_namespace(server)}/deployments/{name}")
    assert found is not None
    return found


def pods(world: World, server: str, component: str) -> dict[str, dict[str, Any]]:
    """Living pods of a component by uid."""
    path = f"/api/v1/namespaces/{naming.server_namespace(server)}/pods"
    found = world.items(f"{path}?labelSelector=elink-lc.com%2Fcomponent%3D{component}")
    return {p["metadata"]["uid"]: p for p in found if not p["metadata"].get("deletionTimestamp")}


def all_have(world: World, server: str, component: str, resources: dict[str, Any]) -> bool:
    found = pods(world, server, component).values()
    return bool(found) and all(p["spec"]["containers"][0]["resources"] == resources for p in found)


async def test_resize_happens_in_the_running_pods_and_a_new_pod_is_resized_too(world: World) -> None:
    server = world.unique("s")
    world.server(server, app={"replicas": 2, "resources": SMALL}, worker={"replicas": 1, "resources": SMALL})
    async with world.operator() as op:
        await until(lambda: is_ready(world.es(server)))
        await op.settle()
        before = set(pods(world, server, "web"))
        world.change("ElinkServer", server, {"spec": {"app": {"resources": LARGE}}})
        await until(partial(all_have, world, server, "web", LARGE), what="pods resized")
        await until(lambda: is_ready(world.es(server)), what="took effect")
        assert set(pods(world, server, "web")) == before
        web = deployment(world, server)
        assert web["spec"]["paused"] is True
        assert web["spec"]["template"]["spec"]["containers"][0]["resources"] == LARGE
        assert all_have(world, server, "worker", SMALL)

        # A node is lost: the old ReplicaSet makes a pod of the old size, which is resized in turn.
        uid, victim = next(iter(pods(world, server, "web").items()))
        world.delete(f"/api/v1/namespaces/{naming.server_namespace(server)}/pods/{victim['metadata']['name']}")
        await until(lambda: uid not in pods(world, server, "web") and len(pods(world, server, "web")) == 2)
        await until(partial(all_have, world, server, "web", LARGE), what="the new pod resized too")

        # At rest nobody looks at the pods again.
        await op.settle(quiet=4)
        world.proxy.seen.clear()
        await op.look_at_everything()
        assert [s for s in world.proxy.seen if "/pods" in s.path] == []

        # The next real change rolls and ends the pause.
        world.change("ElinkServer", server, {"spec": {"version": "0.2.0"}})
        await until(lambda: is_ready(world.es(server)) and not set(pods(world, server, "web")) & before)
        assert deployment(world, server)["spec"].get("paused", False) is False
        assert all_have(world, server, "web", LARGE)


async def test_a_resize_that_cannot_be_done_in_place_rolls(world: World) -> None:
    """The quality-of-service class of a pod cannot change: the API server refuses such a resize."""
    server = world.unique("s")
    world.server(server, app={"replicas": 1, "resources": SMALL})
    guaranteed = {"requests": {"cpu": "1", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}}
    async with world.operator() as op:
        await until(lambda: is_ready(world.es(server)))
        await op.settle()
        before = set(pods(world, server, "web"))
        world.change("ElinkServer", server, {"spec": {"app": {"resources": guaranteed}}})
        await until(partial(all_have, world, server, "web", guaranteed), what="pods replaced")
        await until(lambda: is_ready(world.es(server)))
        assert not set(pods(world, server, "web")) & before
        await op.settle()
        assert deployment(world, server)["spec"].get("paused", False) is False


async def test_limits_that_are_taken_away_are_gone_and_none_is_invented(world: World) -> None:
    """A resize can change a limit and not remove one; a memory limit that nobody asked for would keep the pod away."""
    server = world.unique("s")
    world.server(server, app={"replicas": 1, "resources": SMALL})
    more = {"requests": {"cpu": "100m", "memory": "512Mi"}}
    async with world.operator() as op:
        await until(lambda: is_ready(world.es(server)))
        await op.settle()
        for requests in ({"cpu": "50m", "memory": "128Mi"}, more["requests"]):
            resources = {"requests": requests, "limits": None}
            world.change("ElinkServer", server, {"spec": {"app": {"resources": resources}}})
            await until(partial(all_have, world, server, "web", {"requests": requests}), what="pods without limits")
            await until(lambda: is_ready(world.es(server)), what="took effect")
        await op.settle(quiet=4)
        assert all_have(world, server, "web", more)


async def test_version_is_pinned_and_an_upgrade_migrates_first(world: World) -> None:
    server, tenant = world.unique("s"), world.unique("t")
    world.server(server)
    world.tenant(tenant)
    async with world.operator():
        await until(partial(tenant_is_ready, world, tenant))
    # A new operator with another default: nobody's pods change.
    async with world.operator(default_app_version="9.9.9", postgres_image="docker.io/elink/postgres:9.9.9") as op:
        await until(lambda: op.engine.triggers.active)
        world.proxy.seen.clear()
        await op.settle(quiet=1.5)
        assert (world.es(server) or {})["status"]["version"] == "0.1.0"
        assert image(world, server).endswith(":0.1.0")
        assert world.proxy.writes() == []

        fail = True

        async def migrate(*_: Any) -> tuple[int, str]:
            return (1, "not yet") if fail else (0, "{}")

        world.standin._programs["migrate"] = migrate
        world.change("ElinkServer", server, {"spec": {"version": "0.2.0"}})
        await until(lambda: world.standin.ran.count("migrate") >= 2, what="the new version's migration started")
        assert image(world, server).endswith(":0.1.0"), "the old version serves until the migration is done"
        assert condition(world.et(tenant), "Ready")["status"] == "True"
        assert (world.es(server) or {})["status"]["version"] == "0.1.0"
        late = world.unique("late")
        world.tenant(late)
        await until(lambda: condition(world.et(late), "DatabaseReady").get("reason") == "TemplateMissing")
        fail = False
        await until(lambda: is_ready(world.es(server)), what="upgraded")
        assert image(world, server).endswith(":0.2.0")
        assert (world.es(server) or {})["status"]["version"] == "0.2.0"
        await until(partial(tenant_is_ready, world, late), what="made from the new template")


def image(world: World, server: str) -> str:
    return str(deployment(world, server)["spec"]["template"]["spec"]["containers"][0]["image"])


async def test_a_server_that_lost_its_status_keeps_its_version(world: World) -> None:
    """Restored from a backup of manifests: the status is empty, the Deployment still says what runs."""
    server = world.unique("s")
    world.server(server)
    async with world.operator():
        await until(lambda: is_ready(world.es(server)))
    path = f"/apis/elink-lc.com/v1/elinkservers/{server}/status"
    empty = dict.fromkeys(("version", "migration", "conditions", "observedGeneration", "tenants"))
    world.patch(path, {"status": empty}, "application/merge-patch+json")
    async with world.operator(default_app_version="9.9.9"):
        await until(lambda: is_ready(world.es(server)))
        assert (world.es(server) or {})["status"]["version"] == "0.1.0"


async def test_scale_subresource_and_autoscaler(world: World) -> None:
    server = world.unique("s")
    world.server(server, app={"replicas": 1})
    async with world.operator() as op:
        await until(lambda: is_ready(world.es(server)))
        path = f"/apis/elink-lc.com/v1/elinkservers/{server}/scale"
        scale = world.get(path)
        assert scale is not None
        assert scale["status"]["selector"] == "elink-lc.com/component=web"
        code, answer = world.patch(path, {"spec": {"replicas": 3}}, "application/merge-patch+json")
        assert code == 200, answer
        await until(lambda: len(pods(world, server, "web")) == 3 and is_ready(world.es(server)))
        assert (world.get(path) or {})["status"]["replicas"] == 3

        world.change("ElinkServer", server, {"spec": {"app": {"autoscaling": {"min": 2, "max": 4}}}})
        hpa = f"/apis/autoscaling/v2/namespaces/{naming.server_namespace(server)}/horizontalpodautoscalers/web"
        await until(lambda: world.get(hpa), what="autoscaler")
        await op.settle()
        # The autoscaler's number is its own: nobody puts it back, and switching it on takes no pod away.
        assert deployment(world, server)["spec"]["replicas"] == 3
        world.patch(
            f"/apis/apps/v1/namespaces/{naming.server_namespace(server)}/deployments/web/scale",
            {"spec": {"replicas": 4}},
            "application/merge-patch+json",
        )
        await op.settle(quiet=1.5)
        assert deployment(world, server)["spec"]["replicas"] == 4
        world.change("ElinkServer", server, {"spec": {"app": {"autoscaling": None, "replicas": 2}}})
        await until(lambda: world.get(hpa) is None and deployment(world, server)["spec"]["replicas"] == 2)


async def test_postgres_of_its_own_is_resized_in_place_and_restarted_for_another_image(world: World) -> None:
    server = world.unique("s")
    namespace = naming.server_namespace(server)
    world.apply("ElinkServer", server, {"tenancy": "Shared", "database": {"resources": SMALL}})
    async with world.operator() as op:
        await until(lambda: pods(world, server, "postgres"), what="PostgreSQL's pod")
        # No network reaches pods that do not exist: the database itself stays out of reach.
        await until(lambda: condition(world.es(server), "DatabaseReady").get("reason") == "DatabaseUnavailable")
        secret = world.get(f"/api/v1/namespaces/{namespace}/secrets/postgres-credentials")
        assert secret is not None
        assert set(secret["data"]) == {"host", "port", "username", "password", "app-password", "tenant-key"}
        first = set(pods(world, server, "postgres"))
        world.change("ElinkServer", server, {"spec": {"database": {"resources": LARGE}}})
        await until(partial(all_have, world, server, "postgres", LARGE), what="PostgreSQL resized")
        assert set(pods(world, server, "postgres")) == first

        # Other passwords: PostgreSQL sets them at its start, so it must restart.
        world.delete(f"/api/v1/namespaces/{namespace}/secrets/postgres-credentials")
        again = await until(lambda: world.get(f"/api/v1/namespaces/{namespace}/secrets/postgres-credentials"))
        assert again["data"] == secret["data"], "a deleted Secret comes back as it was"
        await op.settle()
        assert set(pods(world, server, "postgres")) == first
        world.patch(
            f"/api/v1/namespaces/{namespace}/secrets/postgres-credentials",
            {"stringData": {"password": "rotated-by-hand"}},
            "application/merge-patch+json",
        )
        await until(lambda: pods(world, server, "postgres") and not set(pods(world, server, "postgres")) & first)


async def test_postgres_without_limits_starts(world: World) -> None:
    server = world.unique("s")
    world.apply("ElinkServer", server, {"tenancy": "Shared", "database": {"resources": SMALL}})
    async with world.operator() as op:
        await until(lambda: pods(world, server, "postgres"), what="PostgreSQL's pod")
        await until(lambda: condition(world.es(server), "DatabaseReady").get("reason") == "DatabaseUnavailable")
        for requests in ({"cpu": "50m", "memory": "128Mi"}, {"cpu": "50m", "memory": "2Gi"}):
            patch = {"spec": {"database": {"resources": {"requests": requests, "limits": None}}}}
            world.change("ElinkServer", server, patch)
            await until(partial(all_have, world, server, "postgres", {"requests": requests}), what="no limits")
        one = set(pods(world, server, "postgres"))
        await op.look_at_everything()
        assert set(pods(world, server, "postgres")) == one, "and it is left alone"


async def test_isolation_is_what_the_probe_says(world: World) -> None:
    server, tenant = world.unique("s"), world.unique("t")
    world.server(server)
    world.tenant(tenant)
    async with world.operator() as op:
        await until(partial(tenant_is_ready, world, tenant))
        assert condition(world.es(server), "Isolated")["status"] == "True"
        assert (f"web.{naming.server_namespace(server)}.svc", 80) in op.prober.asked

        async def look() -> None:
            op.clock.offset += timedelta(minutes=1)
            op.ctx.wake("server", server)
            await op.settle()

        op.prober.answer = True
        await look()
        assert condition(world.es(server), "Isolated")["reason"] == "ReachableFromOutside"
        await until(lambda: condition(world.et(tenant), "Isolated").get("status") == "False")
        op.prober.answer = None
        for _ in range(7):
            await look()
        assert condition(world.es(server), "Isolated")["status"] == "Unknown"
        op.prober.answer = False
        await look()
        await until(lambda: condition(world.et(tenant), "Isolated").get("status") == "True")


async def test_the_worker_of_a_suspended_dedicated_tenant_stops(world: World) -> None:
    name = world.unique("midori")
    world.secret(f"{name}-database")
    database = {"mode": "External", "secretRef": {"name": f"{name}-database"}}
    world.tenant(name, plan="Dedicated", size={"app": {"replicas": 1}, "database": database})
    async with world.operator():
        await until(partial(tenant_is_ready, world, name))
        assert deployment(world, name, "worker")["spec"]["replicas"] == 1
        world.change("ElinkTenant", name, {"spec": {"state": "Suspended"}})
        await until(lambda: deployment(world, name, "worker")["spec"]["replicas"] == 0)
        await until(lambda: (world.et(name) or {})["status"]["phase"] == "Suspended")
        world.change("ElinkTenant", name, {"spec": {"state": "Active"}})
        await until(lambda: deployment(world, name, "worker")["spec"]["replicas"] == 1)
        world.change("ElinkTenant", name, {"spec": {"size": {"app": {"replicas": 2}}}})
        await until(lambda: len(pods(world, name, "web")) == 2 and is_ready(world.et(name)))


async def test_log_in_and_authority_of_the_relay_reach_the_server(world: World, tmp_path: Path) -> None:
    _, authority = make_contexts(tmp_path)
    trusted = tmp_path / "trusted"
    trusted.write_text("no certificate")
    server = world.unique("s")
    name = f"{server}-relay"
    namespace = naming.server_namespace(server)
    world.server(server)
    async with world.operator(mail_tls="starttls", mail_login_secret=name, mail_ca_file=str(trusted)) as op:
        await until(lambda: condition(world.es(server), "Ready").get("reason") == "SecretMissing")
        world.secret(name, username="elink", password="relay-password-1")
        op.ctx.wake("server", server)
        await until(lambda: condition(world.es(server), "Ready").get("reason") == "MailAuthorityUnusable")
        trusted.write_bytes(authority.read_bytes())
        op.ctx.wake("server", server)
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/web"
        web = await until(lambda: world.get(path))
        env = {one["name"]: one["value"] for one in web["spec"]["template"]["spec"]["containers"][0]["env"]}
        assert (env["ELINK_SMTP_TLS"], env["ELINK_SMTP_USER"]) == ("starttls", "elink")
        assert "relay-password" not in str(web)
        assert env["ELINK_SMTP_CA_FILE"] == "/run/secrets/elink-mail-ca/ca.crt"
        known = world.get(f"/api/v1/namespaces/{namespace}/secrets/mail-ca")
        assert b64decode(known["data"]["ca.crt"]) == authority.read_bytes()
        copy = world.get(f"/api/v1/namespaces/{namespace}/secrets/mail-login")
        assert {key: b64decode(value) for key, value in copy["data"].items()} == {"password": b"relay-password-1"}
        first = web["spec"]["template"]["metadata"]["annotations"]["elink-lc.com/mail-login-hash"]
        world.secret(name, username="elink", password="relay-password-2")
        op.clock.offset += timedelta(minutes=1)
        op.ctx.wake("server", server)

        def changed() -> bool:
            found = deployment(world, server, "web")["spec"]["template"]["metadata"]["annotations"]
            return bool(found["elink-lc.com/mail-login-hash"] != first)

        await until(changed)


async def test_the_apps_own_migration_with_the_jobs_own_environment(world: World, own_postgres: Any) -> None:
    world.postgres = own_postgres
    world.standin._programs["migrate"] = migrate_with_app
    server, tenant = world.unique("s"), world.unique("t")
    world.server(server)
    world.tenant(tenant)
    async with world.operator():
        await until(partial(tenant_is_ready, world, tenant))
        database = naming.tenant_database(tenant)
        tables = {
            r[0] for r in await world.sql(database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        }
        assert {"alembic_version", "account", "address"} & tables
        owners = await world.sql(database, "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
        assert [o[0] for o in owners] == [database]


async def test_backups_are_counted_from_what_the_job_reports(world: World) -> None:
    server, tenant = world.unique("s"), world.unique("t")
    namespace = naming.server_namespace(server)
    world.server(server)
    world.tenant(tenant)
    async with world.operator() as op:
        await until(partial(tenant_is_ready, world, tenant))
        start_backup(world, namespace, tenant, "one")
        found = await until(
            lambda: ((world.et(tenant) or {})["status"].get("backup") or {}).get("generations") and world.et(tenant)
        )
        assert found["status"]["backup"]["generations"] == 1
        assert found["status"]["backup"]["bytes"] > 0
        await until(lambda: condition(world.et(tenant), "BackupHealthy").get("status") == "True")
        await op.settle()
        world.proxy.seen.clear()
        await op.look_at_everything()
        assert world.proxy.calls() == [], "a report is read once"

        async def broken(*_: Any) -> tuple[int, str]:
            return 1, json.dumps({"result": "error", "generations": 0, "newest": None, "bytes": 0})

        world.standin._programs["backup"] = broken
        start_backup(world, namespace, tenant, "two")
        await until(lambda: condition(world.et(tenant), "BackupHealthy").get("reason") == "BackupFailed")
        store = (world.et(tenant) or {})["status"]["backup"]
        assert (store["generations"], store["bytes"], "newest" in store) == (0, 0, False), "what is there, not what was"
        assert condition(world.et(tenant), "Ready")["status"] == "True"


async def test_the_key_of_the_backups_comes_back_and_is_never_made_anew(world: World) -> None:
    server, tenant = world.unique("s"), world.unique("t")
    world.server(server)
    world.tenant(tenant)
    system = "/api/v1/namespaces/elink-system/secrets"
    kept = f"{system}/{naming.backup_key_secret(tenant)}"
    copy = f"/api/v1/namespaces/{naming.server_namespace(server)}/secrets/{naming.backup_key_copy(tenant)}"

    def key(path: str) -> str | None:
        found = world.get(path)
        return None if found is None else found["data"]["repository-key"]

    async with world.operator() as op:
        await until(partial(tenant_is_ready, world, tenant))
        first = key(kept)
        assert first is not None
        assert key(copy) == first
        for path in (kept, copy):
            assert world.api.request("DELETE", path, None)[0] == 200
            await until(lambda path=path: key(path) == first, what=f"{path} is back with the same key")
        start_backup(world, naming.server_namespace(server), tenant, "one")
        await until(lambda: ((world.et(tenant) or {})["status"].get("backup") or {}).get("verifiedAt"))
        await op.settle()
    for path in (kept, copy):
        assert world.api.request("DELETE", path, None)[0] == 200
    async with world.operator():
        await until(lambda: condition(world.et(tenant), "BackupHealthy").get("reason") == "KeyMissing")
        assert key(kept) is None
        assert key(copy) is None


def start_backup(world: World, namespace: str, tenant: str, name: str) -> None:
    """What `kubectl create job --from=cronjob/...` does."""
    cronjob = world.get(f"/apis/batch/v1/namespaces/{namespace}/cronjobs/{naming.backup_cronjob(tenant)}")
    assert cronjob is not None
    template = cronjob["spec"]["jobTemplate"]
    template["spec"]["backoffLimit"] = 0
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"{tenant}-{name}", "labels": template["metadata"]["labels"]},
        "spec": template["spec"],
    }
    code, answer = world.api.request("POST", f"/apis/batch/v1/namespaces/{namespace}/jobs", job)
    assert code == 201, answer
