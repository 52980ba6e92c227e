"""Restores on real parts: the backup image's programs, a real PostgreSQL, folders as volumes.

The schema is a small one here; the app's own, its migration and what is disarmed are tried in tests/images.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from elink_operator import naming

from tests.operator.database.conftest import migrate_template
from tests.operator.reconcile.harness import World, condition, is_ready, until
from tests.operator.reconcile.test_erase import tenant_is_ready
from tests.support.standin import Obj, backup, restore

PAGE = "SELECT datname FROM pg_database WHERE datname ~ '^[rk]_' OR datname ~ '^making_'"
ADD = "INSERT INTO address (name) SELECT $1 || n FROM generate_series(1, $2::int) n"
DISARM = (
    "CREATE OR REPLACE FUNCTION elink_disarm(OUT deliveries int8, OUT mails int8) LANGUAGE sql "
    "AS $$ SELECT count(*), 0::int8 FROM address $$"
)


@pytest.fixture
def world(world: World) -> World:
    """A schema that can be disarmed, and pods of restores that run their programs."""

    async def migrate(*_: Any) -> tuple[int, str]:
        await migrate_template(world.postgres)
        inside = await world.postgres.connect("elink_template", "elink_app", world.postgres.app_password)
        await inside.execute(f"SET ROLE elink_template; {DISARM}")
        await inside.close()
        return 0, "{}"

    async def either(standin: Any, pod: Obj, environment: Any) -> Any:
        mine = "elink-lc.com/restore" in pod["metadata"]["labels"]
        program = restore if mine and "safety" not in pod["metadata"]["name"] else backup
        return await program(standin, pod, environment)

    world.standin.program("migrate", migrate)
    world.standin.program("backup", either)
    return world


def files_of(world: World, server: str, folder: str) -> dict[str, bytes]:
    """Content of every file of a tenant's directory (or of a folder beside it)."""
    top = world.standin.folder(naming.server_namespace(server), "files") / "tenants" / folder
    return {str(p.relative_to(top)): p.read_bytes() for p in sorted(top.rglob("*")) if p.is_file()}


def write_file(world: World, server: str, tenant: str, name: str, content: bytes) -> None:
    path = world.standin.folder(naming.server_namespace(server), "files") / "tenants" / tenant / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


async def add(world: World, tenant: str, stem: str, rows: int) -> None:
    await world.sql(naming.tenant_database(tenant), ADD, stem, rows)


async def names_in(world: World, tenant: str) -> int:
    found = await world.sql(naming.tenant_database(tenant), "SELECT count(*) FROM address")
    return int(found[0][0])


async def state_in_registry(world: World, tenant: str) -> str:
    rows = await world.sql("elink_registry", "SELECT state FROM tenant WHERE name = $1", tenant)
    return str(rows[0]["state"]) if rows else ""


async def left_over(world: World) -> list[str]:
    return [row[0] for row in await world.sql("postgres", PAGE)]


def back_up(world: World, server: str, tenant: str, name: str) -> None:
    """What `kubectl create job --from=cronjob/...` does."""
    namespace = naming.server_namespace(server)
    cronjob = world.get(f"/apis/batch/v1/namespaces/{namespace}/cronjobs/{naming.backup_cronjob(tenant)}") or {}
    template = cronjob["spec"]["jobTemplate"]
    body = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace, "labels": template["metadata"]["labels"]},
        "spec": template["spec"],
    }
    code, answer = world.api.request("POST", f"/apis/batch/v1/namespaces/{namespace}/jobs", body)
    assert code == 201, answer


def backed_up(world: World, tenant: str, generations: int = 1) -> bool:
    found = ((world.et(tenant) or {}).get("status") or {}).get("backup") or {}
    return bool(found.get("generations", 0) >= generations)


async def with_backup(world: World, rows: int = 20) -> tuple[str, str]:
    """Names of a server and of a tenant with rows, a file and one generation."""
    server, tenant = world.unique("shared"), world.unique("t")
    world.server(server)
    world.tenant(tenant)
    await until(partial(tenant_is_ready, world, tenant), timeout=90, what="Ready")
    await add(world, tenant, "前", rows)
    write_file(world, server, tenant, "画像/a.txt", "前の内容".encode())
    back_up(world, server, tenant, f"by-hand-{tenant}")
    await until(lambda: backed_up(world, tenant), timeout=60, what="backed up")
    return server, tenant


def phase(world: World, name: str) -> str:
    return str(((world.er(name) or {}).get("status") or {}).get("phase", ""))


async def ended(world: World, name: str, wanted: str = "Succeeded", timeout: float = 90) -> Obj:
    """The restore once its result is known, which must be `wanted`."""
    done = {"Succeeded", "Failed", "RolledBack"}
    await until(lambda: phase(world, name) in done, timeout=timeout, what=f"{name} ended")
    found = world.er(name) or {}
    assert found["status"]["phase"] == wanted, found["status"]
    return found


@pytest.mark.timeout(180)
async def test_a_drill_proves_the_newest_generation_and_leaves_nothing(world: World) -> None:
    async with world.operator():
        server, tenant = await with_backup(world)
        before = files_of(world, server, tenant)
        world.restore("drill-by-hand", tenant, "Drill")
        status = (await ended(world, "drill-by-hand"))["status"]
        assert (status["rows"] >= 20, status["files"], status.get("different", [])) == (True, 1, [])
        assert condition(world.er("drill-by-hand"), "Complete")["status"] == "True"
        assert status["dataAgeSeconds"] <= 60
        assert "held" not in status
        drill = (world.et(tenant) or {})["status"]["restoreDrill"]
        assert (drill["result"], drill["generation"]) == ("Succeeded", status["generation"])
        assert (drill["rows"], drill["files"], drill["provenAt"]) == (status["rows"], 1, drill["at"])
        assert await left_over(world) == []
        assert is_ready(world.et(tenant)), "nobody noticed"
        assert files_of(world, server, tenant) == before
        await until(lambda: not (world.er("drill-by-hand") or {})["metadata"].get("finalizers"))
