"""Pools: bounded over all tenants, checked on the server, closed when a tenant goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from elink_app.database import engines
from elink_app.database.connect import WrongConnection, open_connection
from elink_app.database.engines import TenantDatabases
from elink_app.database.errors import NoConnectionLeft, is_outage
from elink_app.registry.tenant import Tenant, parse_tenant
from elink_app.telemetry.metrics import Metrics
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.tenant_app.support import Server, eventually, make_settings, new_tenant

pytestmark = pytest.mark.postgres


async def known(server: Server) -> Tenant:
    made = new_tenant()
    await server.ensure(made)
    async with server.inside("elink_registry") as registry:
        return parse_tenant(dict(await registry.fetchrow("SELECT * FROM tenant WHERE name = $1", made.name)))


@asynccontextmanager
async def small(server: Server, folder: Path, **limits: float) -> AsyncIterator[TenantDatabases]:
    """Four connections at most, two for each tenant."""
    limits = {"db_max_connections": 4, "db_pool_size": 2, "db_idle_engine_seconds": 0.01, **limits}
    made = TenantDatabases(make_settings(server.postgres, folder, **limits), Metrics())
    yield made
    await made.close()
    await eventually(lambda: made.open_connections == 0)


@pytest_asyncio.fixture
async def databases(server: Server, tmp_path: Path) -> AsyncIterator[TenantDatabases]:
    """Everybody gets a connection in the end, however busy the machine is."""
    async with small(server, tmp_path, db_pool_timeout=60) as made:
        yield made


async def use(
    databases: TenantDatabases, tenant: Tenant, seconds: float = 0, until: asyncio.Event | None = None
) -> str:
    """Which database and role a connection has, which is held for so long."""
    async with databases.transaction(tenant) as db:
        found = str((await db.execute(text("SELECT current_database() || '/' || current_user"))).scalar_one())
        await asyncio.sleep(seconds)
        if until is not None:
            await until.wait()
    return found


async def backends(server: Server, *tenants: Tenant) -> int:
    async with server.inside("postgres") as inside:
        return int(
            await inside.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = ANY($1) AND usename = 'elink_app'",
                [tenant.database for tenant in tenants],
            )
        )


async def test_many_tenants_within_one_limit(server: Server, databases: TenantDatabases) -> None:
    tenants = [await known(server) for _ in range(7)]
    for _ in range(3):
        found = await asyncio.gather(*(use(databases, tenant, 0.02) for tenant in tenants))
        assert found == [f"{tenant.database}/{tenant.role}" for tenant in tenants]
        assert databases.open_connections <= 4
    assert await backends(server, *tenants) <= 4


async def test_when_all_are_in_use_the_next_waits_and_is_told(server: Server, tmp_path: Path) -> None:
    busy = [await known(server) for _ in range(4)]
    late, over = await known(server), asyncio.Event()
    async with small(server, tmp_path, db_pool_timeout=0.5) as databases:
        holding = [asyncio.create_task(use(databases, tenant, until=over)) for tenant in busy]
        await eventually(lambda: databases.open_connections == 4)
        with pytest.raises(NoConnectionLeft) as refused:
            await use(databases, late)
        assert is_outage(refused.value)
        over.set()
        await asyncio.gather(*holding)
        assert await use(databases, late)


async def test_one_tenant_cannot_take_all(server: Server, databases: TenantDatabases) -> None:
    greedy, other, over = await known(server), await known(server), asyncio.Event()
    tasks = [asyncio.create_task(use(databases, greedy, until=over)) for _ in range(6)]
    await eventually(lambda: databases.open_connections == 2)
    assert await use(databases, other)
    over.set()
    assert len(await asyncio.gather(*tasks)) == 6


async def test_a_tenant_that_goes_or_changes_is_closed(server: Server, databases: TenantDatabases) -> None:
    tenant = await known(server)
    await use(databases, tenant)
    assert await backends(server, tenant) == 1
    databases.tenant_changed(tenant, replace(tenant, display_name="x"))
    await asyncio.sleep(0.05)
    assert databases.open_connections == 1
    async with databases.transaction(tenant) as db:
        assert (await db.execute(text("SELECT 1"))).scalar_one() == 1
        databases.tenant_changed(tenant, None)
        await asyncio.sleep(0.05)
        assert (await db.execute(text("SELECT 2"))).scalar_one() == 2, "who is at work is not cut off"
    await eventually(lambda: databases.open_connections == 0)
    reborn = replace(tenant, uid="another")
    await use(databases, reborn)
    assert databases.open_connections == 1


@pytest.mark.parametrize("trusted", [-1.0, 60.0], ids=["asked", "not asked"])
async def test_a_connection_that_was_closed_is_replaced_unnoticed(
    server: Server, databases: TenantDatabases, monkeypatch: pytest.MonkeyPatch, trusted: float
) -> None:
    monkeypatch.setattr(engines, "_TRUSTED_SECONDS", trusted)
    tenant = await known(server)
    found = [await use(databases, tenant), await use(databases, tenant)]
    assert databases.open_connections == 1, "a connection that lives is used again"
    async with server.inside("postgres") as inside:
        ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND usename = 'elink_app'"
        await inside.execute(ending, tenant.database)
    await eventually(lambda: databases.open_connections == 0)
    found.append(await use(databases, tenant))
    assert set(found) == {f"{tenant.database}/{tenant.role}"}


async def test_idle_pools_are_closed(server: Server, databases: TenantDatabases) -> None:
    tenant = await known(server)
    await use(databases, tenant)
    await asyncio.sleep(0.05)
    await databases.close_idle()
    await eventually(lambda: databases.open_connections == 0)
    assert await backends(server, tenant) == 0


async def test_rollback_on_any_exception(server: Server, databases: TenantDatabases) -> None:
    tenant = await known(server)

    async def fail() -> None:
        async with databases.transaction(tenant) as db:
            await db.execute(text("UPDATE usage SET value = 99"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    async with databases.transaction(tenant) as db:
        assert (await db.execute(text("SELECT value FROM usage"))).scalar_one() == 0


async def test_limits_of_time(server: Server, tmp_path: Path) -> None:
    tenant = await known(server)
    async with small(server, tmp_path, db_lock_timeout=0.3, db_statement_timeout=0.5) as databases:
        with pytest.raises(DBAPIError) as slow:
            async with databases.transaction(tenant) as db:
                await db.execute(text("SELECT pg_sleep(3)"))
        assert is_outage(slow.value)
        async with server.inside(tenant.database) as blocker, blocker.transaction():
            await blocker.execute("UPDATE usage SET value = 1")
            with pytest.raises(DBAPIError) as blocked:
                async with databases.transaction(tenant) as db:
                    await db.execute(text("UPDATE usage SET value = 2"))
            assert is_outage(blocked.value)


async def test_the_wrong_database_or_role_is_noticed(server: Server) -> None:
    tenant, other = await known(server), await known(server)
    settings = server.settings
    connection = await open_connection(settings, tenant.database, role=tenant.role)
    await connection.close()
    with pytest.raises(asyncpg.PostgresError):
        await open_connection(settings, tenant.database, role="postgres")
    with pytest.raises(asyncpg.PostgresError):
        await open_connection(settings, "postgres")
    # Acting as a neighbour is possible for the log-in role, so nothing of the tenant's is found there.
    connection = await open_connection(settings, tenant.database, role=other.role)
    with pytest.raises((asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError)):
        await connection.fetch("SELECT * FROM account")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.fetch("SELECT * FROM public.account")
    await connection.close()
    mighty = settings.model_copy(update={"db_user": "postgres", "db_password_file": None})
    superuser_password = server.settings.files_dir.parent / "superuser-password"
    superuser_password.write_text(server.postgres.admin_password)
    mighty = mighty.model_copy(update={"db_password_file": superuser_password})
    with pytest.raises(WrongConnection):
        await open_connection(mighty, tenant.database)


async def test_a_database_that_is_closed_for_a_while_is_an_outage(server: Server, databases: TenantDatabases) -> None:
    """As the operator closes it while a restore exchanges it."""
    tenant = await known(server)
    async with server.inside("postgres") as admin:
        await admin.execute(f"ALTER DATABASE {tenant.database} ALLOW_CONNECTIONS false")
        with pytest.raises(DBAPIError) as closed:
            await use(databases, tenant)
        assert is_outage(closed.value)
        await admin.execute(f"ALTER DATABASE {tenant.database} ALLOW_CONNECTIONS true")
    assert await use(databases, tenant)


async def test_unexpected_errors_are_no_outages(server: Server, databases: TenantDatabases) -> None:
    tenant = await known(server)
    for statement in ("SELECT nonsense", "SELECT 1/0", "INSERT INTO usage VALUES ('addresses', 1)"):
        with pytest.raises(DBAPIError) as error:
            async with databases.transaction(tenant) as db:
                await db.execute(text(statement))
        assert not is_outage(error.value)
