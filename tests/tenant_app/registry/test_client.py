"""Following the registry through changes and outages, and what the application does meanwhile."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from pathlib import Path

import pytest
from elink_app.process import make_parts
from elink_app.registry.client import RegistryClient
from prometheus_client import generate_latest

from tests.support.postgres import Postgres
from tests.tenant_app.support import Server, World, eventually, make_settings, new_tenant, running_world

pytestmark = pytest.mark.postgres


async def test_changes_arrive_by_notification(server: Server, tmp_path: Path) -> None:
    """The periodic reading is an hour away: what arrives came by NOTIFY."""
    settings = make_settings(server.postgres, tmp_path, registry_reread_seconds=3600)
    async with running_world(Server(server.postgres, settings)) as world:
        tenant = new_tenant()
        await world.server.ensure(tenant)
        await world.knows(tenant)
        changed = await world.change(tenant, state="Suspended", state_reason="理由")
        known = world.parts.directory.get(tenant.name)
        assert known is not None
        assert known.state_reason == "理由"
        await world.server.remove(changed)
        await eventually(lambda: world.parts.directory.get(tenant.name) is None)
        assert (await world.browser(tenant.host).get("/")).status_code == 404


async def test_a_lost_notification_is_made_good_by_rereading(server: Server, tmp_path: Path) -> None:
    settings = make_settings(server.postgres, tmp_path, registry_reread_seconds=0.2)
    async with running_world(Server(server.postgres, settings)) as world:
        tenant = await world.tenant()
        async with server.inside("elink_registry") as registry:
            await registry.execute("ALTER TABLE tenant DISABLE TRIGGER tenant_changed")
            try:
                await registry.execute("UPDATE tenant SET display_name = 'neu' WHERE name = $1", tenant.name)
                await eventually(lambda: world.parts.directory.get(tenant.name).display_name == "neu")  # type: ignore[union-attr]
            finally:
                await registry.execute("ALTER TABLE tenant ENABLE TRIGGER tenant_changed")


async def test_a_cut_connection_is_made_again(world: World) -> None:
    for _ in range(3):
        async with world.server.inside("elink_registry") as registry:
            await registry.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = 'elink_registry' AND usename = 'elink_app'"
            )
        await world.tenant()


async def test_many_changes_at_once(world: World) -> None:
    tenants = [await world.tenant() for _ in range(3)]
    async with world.server.inside("elink_registry") as registry, registry.transaction():
        for n in range(200):
            await registry.execute("UPDATE tenant SET display_name = $1", f"n{n}")
        names = [t.name for t in tenants]
        await registry.execute("SELECT pg_notify('elink_registry', 'nobody-' || n) FROM generate_series(1, 500) AS n")
    await eventually(
        lambda: {world.parts.directory.get(name).display_name for name in names} == {"n199"}  # type: ignore[union-attr]
    )


async def test_a_senseless_row_does_not_hide_the_others(world: World) -> None:
    good, bad = await world.tenant(), await world.tenant()
    async with world.server.inside("elink_registry") as registry:
        await registry.execute("UPDATE tenant SET host = '10.0.0.1' WHERE name = $1", bad.name)
        await eventually(lambda: world.parts.directory.get(bad.name) is None)
        assert (await world.browser(good.host).get("/login")).status_code == 200
        await registry.execute("DELETE FROM tenant WHERE name = $1", bad.name)


async def test_postgresql_down_at_start_then_up_then_down_again(own_postgres: Postgres, tmp_path: Path) -> None:
    server = Server(own_postgres, make_settings(own_postgres, tmp_path))
    await server.prepare()
    tenant = new_tenant()
    await server.ensure(tenant)
    own_postgres.stop("immediate")

    parts = make_parts(server.settings)
    client = asyncio.create_task(RegistryClient(server.settings, parts.directory, parts.metrics).run())
    await asyncio.sleep(1.2)
    assert not client.done()
    assert not parts.directory.loaded
    assert b"elink_app_registry_age_seconds +Inf" in generate_latest(parts.metrics.registry)
    own_postgres.start()
    await eventually(lambda: parts.directory.loaded)
    client.cancel()

    async with running_world(server) as world:
        me = await world.master(tenant)
        assert (await me.get("/")).status_code == 200
        own_postgres.stop("immediate")
        page = await me.get("/")
        assert page.status_code == 503
        assert page.headers["retry-after"]
        assert "一時的にご利用いただけません" in page.text
        problem = await me.get("/api/v1/addresses")
        assert problem.status_code == 503
        assert problem.json()["type"].endswith("/temporarily-unavailable")
        login = await world.browser(tenant.host).log_in(tenant)
        assert login.status_code == 503
        # The registry's last reading goes on being used.
        assert (await world.browser("nobody.example").get("/")).status_code == 404
        assert parts.directory.loaded
        own_postgres.start()
        deadline = time.monotonic() + 60
        while (await me.get("/")).status_code != 200:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
        changed = await world.change(tenant, display_name="後")
        assert changed.display_name == "後"


async def test_directories_of_tenants(world: World) -> None:
    folder = world.server.settings.tenants_dir
    active = await world.tenant()
    suspended = await world.tenant(state="Suspended")
    path = folder / active.directory
    await eventually(path.is_dir)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    await world.change(suspended, state="Active")
    await eventually((folder / suspended.directory).is_dir)


async def test_a_directory_that_leads_elsewhere_is_not_made(world: World) -> None:
    folder = world.server.settings.tenants_dir
    usual = await world.tenant()
    await eventually((folder / usual.directory).is_dir)
    for directory in ("../outside", "a/b", "..", ".", "/etc/elink-test", "A", "a\x01"):
        tenant = new_tenant()
        await world.server.ensure(tenant)
        async with world.server.inside("elink_registry") as registry:
            await registry.execute("UPDATE tenant SET directory = $1 WHERE name = $2", directory, tenant.name)
            await world.knows(tenant)
            await asyncio.sleep(0.1)
            await registry.execute("DELETE FROM tenant WHERE name = $1", tenant.name)
    assert not (folder.parent / "outside").exists()
    assert "elink-test" not in os.listdir("/etc")
    assert all("/" not in name and name[0] != "." for name in os.listdir(folder))
