"""A real API server with real controllers, a real PostgreSQL, and a stand-in for nodes and Gateway."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.operator.database.conftest import migrate_template
from tests.operator.reconcile.harness import SYSTEM, World
from tests.operator.reconcile.restoring import Script
from tests.support.apiserver import ApiServer, running
from tests.support.controllers import controllers
from tests.support.faultproxy import FaultProxy
from tests.support.postgres import Postgres
from tests.support.postgres import running as postgres_running
from tests.support.standin import Obj, Standin, backup, erase

PREFIX = "elink-srv-"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "world" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.apiserver)
            item.add_marker(pytest.mark.postgres)


@pytest.fixture(scope="package")
def cluster() -> Iterator[ApiServer]:
    """An API server of these tests alone: they delete namespaces and restart it."""
    folder = Path(tempfile.mkdtemp(prefix="elink-reconcile-"))
    with running(folder) as server:
        server.install_crds()
        server.install_gateway()
        server.kubectl.run("create", "namespace", SYSTEM)
        with controllers(server):
            yield server
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="package")
def second_postgres() -> Iterator[Postgres]:
    """For tests with two servers: each needs a PostgreSQL of its own."""
    with postgres_running() as server:
        yield server


@pytest.fixture
async def world(
    cluster: ApiServer, postgres: Postgres, second_postgres: Postgres, tmp_path: Path
) -> AsyncIterator[World]:
    """Everything around an operator; what the test leaves behind is removed by force."""
    servers = [postgres, second_postgres]
    for one in servers:
        await empty(one)
    async with surroundings(cluster, servers, tmp_path) as made:
        yield made
        made.print_state()
        made.proxy.heal()
        made.standin.accept_routes = made.standin.ready = made.standin.provision = True
        clean(made)


@pytest.fixture
def script(world: World) -> Script:
    """What pods of backups and restores answer."""
    return Script(world).install()


@asynccontextmanager
async def surroundings(cluster: ApiServer, servers: list[Postgres], folder: Path) -> AsyncIterator[World]:
    """Fault proxy and stand-in around an API server and one PostgreSQL per server that will be made."""

    async def migrate(_: Standin, __: Obj, environment: Mapping[str, str]) -> tuple[int, str]:
        port = int(environment["ELINK_DB_PORT"])
        await migrate_template(next(p for p in (*servers, made.postgres) if p.port == port))
        return 0, "{}"

    programs = {"migrate": migrate, "erase": erase, "backup": backup}
    standin = Standin(cluster.url, cluster.admin_token, cluster.ca, folder, programs)
    async with FaultProxy(cluster.url, cluster.ca) as proxy, standin:
        made = World(cluster, proxy, servers[0], standin, servers)
        yield made


async def empty(postgres: Postgres) -> None:
    """Remove every database and role that an operator made, past every guard."""
    connection = await postgres.connect()
    try:
        for row in await connection.fetch(
            "SELECT datname FROM pg_database WHERE datname ~ '^(t_|r_|k_|elink_|spare_|making_)'"
        ):
            await connection.execute(f'DROP DATABASE IF EXISTS "{row[0]}" WITH (FORCE)')
        roles = "SELECT rolname FROM pg_roles WHERE rolname ~ '^(t_|elink_(app|backup|template)$)'"
        for row in await connection.fetch(roles):
            await connection.execute(f'DROP ROLE "{row[0]}"')
    finally:
        await connection.close()


def clean(world: World) -> None:
    """Remove all restores, tenants and servers past every finalizer; namespaces go in their own time."""
    for plural in ("elinkrestores", "elinktenants", "elinkservers"):
        for obj in world.items(f"/apis/elink-lc.com/v1/{plural}"):
            path = f"/apis/elink-lc.com/v1/{plural}/{obj['metadata']['name']}"
            world.patch(path, {"metadata": {"finalizers": None}}, "application/merge-patch+json")
            world.delete(path)
    for secret in world.items(f"/api/v1/namespaces/{SYSTEM}/secrets"):
        world.delete(f"/api/v1/namespaces/{SYSTEM}/secrets/{secret['metadata']['name']}")
    for namespace in world.items("/api/v1/namespaces"):
        if namespace["metadata"]["name"].startswith(PREFIX) and not namespace["metadata"].get("deletionTimestamp"):
            world.delete(f"/api/v1/namespaces/{namespace['metadata']['name']}")
