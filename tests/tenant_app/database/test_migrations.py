"""One history for the template and every tenant; safe to repeat and to kill."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import asyncpg
import orjson
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from elink_app.database.connect import open_connection
from elink_app.database.migrate import (
    TOO_NEW,
    Target,
    TooNew,
    alembic_config,
    migrate_all,
    migrate_database,
    newest_revision,
)
from elink_app.database.tables import metadata
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from tests.tenant_app.support import Server, new_tenant

pytestmark = pytest.mark.postgres


async def compared(server: Server, database: str, role: str) -> list[object]:
    """What Alembic would change; empty when tables and models agree."""

    async def connect(*_args: object, **_kwargs: object) -> asyncpg.Connection:
        return await open_connection(server.settings, database, role=role)

    def compare(connection: Connection) -> list[object]:
        options = {"compare_type": True, "compare_server_default": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(compare)
    finally:
        await engine.dispose()


def test_one_straight_history() -> None:
    script = ScriptDirectory.from_config(alembic_config())
    assert len(script.get_heads()) == 1
    assert len(script.get_bases()) == 1


async def test_template_and_tenants_are_what_the_models_say(server: Server) -> None:
    assert await compared(server, "elink_template", "elink_template") == []
    tenant = new_tenant()
    await server.ensure(tenant)
    assert await compared(server, tenant.database, tenant.role) == []


async def test_repeating_does_nothing_and_says_so(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    tenant = new_tenant()
    await server.ensure(tenant)
    capsys.readouterr()
    assert await migrate_all(server.settings) == 0
    lines = [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0]["database"] == "elink_template"
    assert tenant.database in {line["database"] for line in lines}
    assert {(line["before"], line["after"], line["error"]) for line in lines} == {(newest_revision(),) * 2 + ("",)}


async def emptied(server: Server) -> Target:
    """A tenant's database as it was before the first migration."""
    tenant = new_tenant()
    await server.ensure(tenant)
    async with server.inside(tenant.database) as inside:
        await inside.execute(f"DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION {tenant.role}")
    return Target(tenant.database, tenant.role)


async def test_up_and_down_and_up(server: Server) -> None:
    target = await emptied(server)
    outcome = await migrate_database(server.settings, target)
    assert (outcome.before, outcome.after) == (None, newest_revision())
    assert await compared(server, target.database, target.role) == []
    async with server.inside(target.database) as inside:
        owners = await inside.fetch(
            "SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = 'public' "
            "UNION SELECT pg_get_userbyid(proowner)::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        )
        assert [row[0] for row in owners] == [target.role]


async def test_two_migrations_at_once(server: Server) -> None:
    target = await emptied(server)
    outcomes = await asyncio.gather(*(migrate_database(server.settings, target) for _ in range(3)))
    assert {outcome.after for outcome in outcomes} == {newest_revision()}
    assert await compared(server, target.database, target.role) == []


def command(server: Server) -> tuple[list[str], dict[str, str]]:
    """`elink-app migrate` as a process of its own."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "ELINK_DB_HOST": server.settings.db_host,
        "ELINK_DB_PORT": str(server.settings.db_port),
        "ELINK_DB_PASSWORD_FILE": str(server.settings.db_password_file),
    }
    return [sys.executable, "-m", "elink_app", "migrate"], environment


async def test_one_database_that_is_in_no_registry(server: Server, tmp_path: Path) -> None:
    """A restored one, by its tenant's own role: the app's log-in may not even enter it."""
    target = await emptied(server)
    async with server.inside("elink_registry") as registry:
        await registry.execute("DELETE FROM tenant WHERE database = $1", target.database)
    async with server.inside("postgres") as admin:
        await admin.execute(f"ALTER DATABASE {target.database} RENAME TO r_{target.database}")
        await admin.execute(f"REVOKE CONNECT ON DATABASE r_{target.database} FROM elink_app")
        await admin.execute(f"ALTER ROLE {target.role} PASSWORD 'the-tenants-own'")
    password = tmp_path / "password"
    password.write_text("the-tenants-own")
    arguments, environment = command(server)
    environment |= {
        "ELINK_MIGRATE_DATABASE": f"r_{target.database}",
        "ELINK_DB_USER": str(target.role),
        "ELINK_DB_PASSWORD_FILE": str(password),
    }
    process = await asyncio.create_subprocess_exec(*arguments, env=environment, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    (line,) = [orjson.loads(text) for text in output.splitlines()]
    assert (process.returncode, line["error"]) == (0, "")
    assert (line["database"], line["after"]) == (f"r_{target.database}", newest_revision())
    async with server.inside(f"r_{target.database}") as inside:
        await inside.execute("UPDATE alembic_version SET version_num = '9999'")
    process = await asyncio.create_subprocess_exec(*arguments, env=environment, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == TOO_NEW == 3, "the operator knows it by that"
    assert "the database has revision 9999" in orjson.loads(output)["error"]
    environment["ELINK_MIGRATE_DATABASE"] = "elink_template"
    process = await asyncio.create_subprocess_exec(*arguments, env=environment, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 1, "the tenant's role reaches nothing else"
    assert orjson.loads(output)["error"]


async def test_a_revision_that_fails_leaves_nothing_of_itself(server: Server) -> None:
    target = await emptied(server)
    async with server.inside(target.database) as inside:
        # The revision's last table is in the way: everything before it must be undone.
        await inside.execute(f"CREATE TABLE usage (name text); ALTER TABLE usage OWNER TO {target.role}")
        arguments, environment = command(server)
        process = await asyncio.create_subprocess_exec(*arguments, env=environment, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        assert process.returncode == 1
        said = {line["database"]: line["error"] for line in map(orjson.loads, output.splitlines())}
        assert "42P07" in said[target.database]
        assert all(not error for database, error in said.items() if database != target.database)
        tables = await inside.fetch("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")
        assert [row[0] for row in tables] == ["usage"]
        await inside.execute("DROP TABLE usage")
    assert (await migrate_database(server.settings, target)).after == newest_revision()


async def test_killed_half_way_and_run_again(server: Server) -> None:
    target = await emptied(server)
    async with server.inside(target.database) as blocker:
        # The trigger function waits for this transaction's function of the same name: a kill in the middle for sure.
        transaction = blocker.transaction()
        await transaction.start()
        await blocker.execute(
            "CREATE FUNCTION count_addresses() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$"
        )
        arguments, environment = command(server)
        process = await asyncio.create_subprocess_exec(
            *arguments, env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'"
        async with asyncio.timeout(240):
            async with server.inside("postgres") as watcher:
                while not await watcher.fetchval(waiting, target.database):
                    assert process.returncode is None
        process.send_signal(signal.SIGKILL)
        await process.wait()
        await transaction.rollback()
    assert (await migrate_database(server.settings, target)).after == newest_revision()
    assert await compared(server, target.database, target.role) == []


async def test_what_a_newer_version_has_migrated_stays(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """A version that is set back must find its way: the databases are those of the version after it."""
    ahead, garbled = new_tenant("ahead"), new_tenant("garbled")
    for tenant, revision in ((ahead, "9999"), (garbled, "x9999")):
        await server.ensure(tenant)
        async with server.inside(tenant.database) as inside:
            await inside.execute("UPDATE alembic_version SET version_num = $1", revision)
    capsys.readouterr()
    assert await migrate_all(server.settings) == 1
    lines = {line["database"]: line for line in map(orjson.loads, capsys.readouterr().out.splitlines())}
    assert (lines[ahead.database]["before"], lines[ahead.database]["after"]) == ("9999", "9999")
    assert not lines[ahead.database]["error"]
    assert "x9999" in lines[garbled.database]["error"]
    async with server.inside("elink_registry") as registry:
        await registry.execute("DELETE FROM tenant WHERE name = $1", garbled.name)
    assert await migrate_all(server.settings) == 0
    # A restored database is another matter.
    alone = server.settings.model_copy(update={"migrate_database": ahead.database})
    with pytest.raises(TooNew):
        await migrate_database(alone, Target(ahead.database, ahead.role))
    async with server.inside("elink_registry") as registry:
        await registry.execute("DELETE FROM tenant WHERE name = $1", ahead.name)


async def test_a_tenant_that_fails_stops_no_other(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    broken = new_tenant("aaa")
    await server.ensure(broken)
    fine = await emptied(server)
    async with server.inside("elink_registry") as registry:
        await registry.execute("UPDATE tenant SET role = 'nobody_' || role WHERE name = $1", broken.name)
        capsys.readouterr()
        assert await migrate_all(server.settings) == 1
        lines = {line["database"]: line for line in map(orjson.loads, capsys.readouterr().out.splitlines())}
        assert lines[broken.database]["error"]
        assert lines[fine.database]["after"] == newest_revision()
        await registry.execute("DELETE FROM tenant WHERE name = $1", broken.name)
