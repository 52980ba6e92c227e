"""A tenant's role, database and registry row on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import asyncpg
import pytest
from elink_operator.database import (
    Databases,
    DatabaseTaken,
    DatabaseUnavailable,
    TemplateMissing,
    TenantDb,
)
from elink_operator.database import tenant as steps
from elink_operator.database.sessions import Limits

from tests.operator.database.conftest import migrate_template, target, tenant
from tests.support.postgres import Postgres


async def test_tenant_owns_its_objects_and_nothing_else(postgres: Postgres, databases: Databases) -> None:
    one = tenant("own-1")
    await databases.ensure_tenant(target(postgres), one)
    snapshot = await databases.snapshot(target(postgres))
    assert snapshot.holds(one)
    assert snapshot.databases["elink_template"].owner == "elink_operator"
    connection = await postgres.connect(one.database)
    owners = {r[0] for r in await connection.fetch("SELECT tableowner FROM pg_tables WHERE schemaname='public'")}
    await connection.close()
    assert owners == {one.role}


async def test_names_that_are_prefixes_do_not_touch_each_other(postgres: Postgres, databases: Databases) -> None:
    tenants = [tenant(name) for name in ("pre", "pre-a", "prea", "pre-a-b")]
    for one in tenants:
        await databases.ensure_tenant(target(postgres), one)
    evidence = await databases.drop_tenant(target(postgres), tenants[0])
    assert evidence.clean
    snapshot = await databases.snapshot(target(postgres))
    assert not snapshot.traces(tenants[0])
    assert all(snapshot.holds(one) for one in tenants[1:])


async def test_a_tenants_role_reaches_its_own_database_only(postgres: Postgres, databases: Databases) -> None:
    one, other = tenant("role-1"), tenant("role-2")
    for each in (one, other):
        await databases.ensure_tenant(target(postgres), each)
    own = await postgres.connect(one.database, user=one.role, password=one.password)
    assert await own.fetchval("SELECT count(*) FROM address") == 0
    await own.close()
    for database in (other.database, "elink_registry", "elink_template", "postgres", "template1"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await postgres.connect(database, user=one.role, password=one.password)


async def test_the_app_sees_nothing_before_it_acts_as_the_owner(postgres: Postgres, databases: Databases) -> None:
    one = tenant("app-1")
    await databases.ensure_tenant(target(postgres), one)
    connection = await postgres.connect(one.database, user="elink_app", password=postgres.app_password)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.fetch("SELECT * FROM public.address")
    await connection.execute(f'SET ROLE "{one.role}"')
    await connection.execute("INSERT INTO address (name) VALUES ('山田')")
    await connection.execute("ALTER TABLE address ADD COLUMN kana text")
    await connection.close()
    registry = await postgres.connect("elink_registry", user="elink_app", password=postgres.app_password)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await registry.execute("UPDATE tenant SET host = 'x'")
    assert await registry.fetchval("SELECT host FROM tenant WHERE name = 'app-1'") == one.host
    await registry.close()


async def test_known_tenant_costs_no_query(postgres: Postgres, databases: Databases) -> None:
    one = tenant("quiet")
    await databases.ensure_tenant(target(postgres), one)
    watcher = await postgres.connect()
    last = f"SELECT max(query_start) FROM pg_stat_activity WHERE usename = '{postgres.admin}'"
    before = await watcher.fetchval(last)
    assert before is not None
    for _ in range(50):
        await databases.ensure_tenant(target(postgres), one)
    assert await watcher.fetchval(last) == before
    await watcher.close()


async def test_registry_tells_of_changes_and_only_of_changes(postgres: Postgres, databases: Databases) -> None:
    one = tenant("told")
    heard: list[str] = []
    listener = await postgres.connect("elink_registry", user="elink_app", password=postgres.app_password)
    await listener.add_listener("elink_registry", lambda *a: heard.append(a[3]))
    await databases.ensure_tenant(target(postgres), one)
    await databases.ensure_tenant(target(postgres), replace(one, state="Suspended", state_reason="未払い"))
    await databases.snapshot(target(postgres))
    await databases.ensure_tenant(target(postgres), replace(one, state="Suspended", state_reason="未払い"))
    await listener.execute("SELECT pg_notify('elink_registry', 'the end')")
    async with asyncio.timeout(60):
        while "the end" not in heard:  # noqa: ASYNC110 - the listener tells of each, not of the last
            await asyncio.sleep(0.02)
    assert heard == ["told", "told", "the end"]
    assert await listener.fetchval("SELECT state_reason FROM tenant WHERE name='told'") == "未払い"
    await listener.close()


DRIFT = {
    "host": ("elink_registry", "UPDATE tenant SET host = 'evil.example.jp' WHERE name = 'drift'"),
    "state": ("elink_registry", "UPDATE tenant SET state = 'Suspended' WHERE name = 'drift'"),
    "limits": ("elink_registry", "UPDATE tenant SET limits = limits || '{\"addresses\": 9}' WHERE name = 'drift'"),
    "hash": ("elink_registry", "UPDATE tenant SET spec_hash = 'x', host = 'evil.example.jp' WHERE name = 'drift'"),
    "membership": ("postgres", "SET ROLE elink_operator; REVOKE t_drift FROM elink_app"),
    "right to connect": ("postgres", "REVOKE CONNECT ON DATABASE t_drift FROM elink_app"),
}


@pytest.mark.parametrize("what", DRIFT)
async def test_what_was_changed_by_hand_is_found_by_the_next_snapshot_and_put_right(
    postgres: Postgres, databases: Databases, what: str
) -> None:
    server, one = target(postgres), tenant("drift")
    await databases.ensure_tenant(server, one)
    before = await _facts(postgres, one)
    database, statement = DRIFT[what]
    connection = await postgres.connect(database)
    await connection.execute(statement)
    await connection.close()
    assert await _facts(postgres, one) != before, "nothing was changed, so this test would prove nothing"
    assert not (await databases.snapshot(server)).holds(one)
    await databases.ensure_tenant(server, one)
    assert await _facts(postgres, one) == before
    assert (await databases.snapshot(server)).holds(one)


async def _facts(postgres: Postgres, one: TenantDb) -> list[object]:
    """The row but for its time, and what the app may do."""
    connection = await postgres.connect("elink_registry")
    try:
        row = await connection.fetchval("SELECT to_jsonb(t) - 'updated_at' FROM tenant t WHERE name = $1", one.name)
        rights = "SELECT pg_has_role('elink_app', $1, 'MEMBER'), has_database_privilege('elink_app', $2, 'CONNECT')"
        return [row, *(await connection.fetchrow(rights, one.role, one.database) or ())]
    finally:
        await connection.close()


@pytest.mark.parametrize(
    "text", ["o'brien\"; DROP DATABASE postgres; --", "𠮷野家😀", "a\\'b", "%s %(x)s $1 {0}", "x" * 200]
)
async def test_hostile_text_is_only_text(postgres: Postgres, databases: Databases, text: str) -> None:
    one = tenant("hostile", display_name=text, state_reason=text, master_email=text, contacts={"emails": [text]})
    await databases.ensure_tenant(target(postgres), one)
    connection = await postgres.connect("elink_registry")
    assert await connection.fetchval("SELECT display_name FROM tenant WHERE name = 'hostile'") == text
    await connection.close()


async def test_a_foreign_database_or_role_is_never_adopted(postgres: Postgres, databases: Databases) -> None:
    one = tenant("foreign")
    admin = await postgres.connect()
    await admin.execute(f'CREATE DATABASE "{one.database}"')
    try:
        with pytest.raises(DatabaseTaken):
            await databases.ensure_tenant(target(postgres), one)
        with pytest.raises(DatabaseTaken):
            await databases.drop_tenant(target(postgres), one)
        assert await admin.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", one.database)
    finally:
        await admin.execute(f'DROP DATABASE "{one.database}"')
        await admin.execute(f'DROP ROLE IF EXISTS "{one.role}"')
        await admin.close()
    await databases.ensure_tenant(target(postgres), one)
    with pytest.raises(DatabaseTaken):
        await databases.ensure_tenant(target(postgres), replace(one, uid="uid-of-a-namesake"))


async def test_a_change_of_the_row_waits_behind_no_creation(postgres: Postgres, databases: Databases) -> None:
    one = tenant("row-only")
    await databases.ensure_tenant(target(postgres), one)
    async with AsyncExitStack() as stack:
        async with databases._of(target(postgres)) as known:
            for _ in range(4):
                await stack.enter_async_context(known.sessions.admin())
        changed = replace(one, state="Suspended", limits={"addresses": 7})
        await asyncio.wait_for(databases.ensure_tenant(target(postgres), changed), 60)
    registry = await postgres.connect("elink_registry")
    row = await registry.fetchrow("SELECT state, limits, spec_hash FROM tenant WHERE name = $1", one.name)
    assert row is not None
    assert (row["state"], row["limits"], row["spec_hash"]) == ("Suspended", '{"addresses": 7}', changed.spec_hash)
    # A row that is gone is not merely updated: everything is looked at again.
    await registry.execute("DELETE FROM tenant WHERE name = $1", one.name)
    await registry.close()
    await databases.ensure_tenant(target(postgres), one)
    assert (await databases.snapshot(target(postgres))).holds(one)


async def test_two_tenants_cannot_share_a_host(postgres: Postgres, databases: Databases) -> None:
    await databases.ensure_tenant(target(postgres), tenant("host-1"))
    with pytest.raises(DatabaseTaken):
        await databases.ensure_tenant(target(postgres), tenant("host-2", host="host-1.elink.localhost"))


async def test_twenty_at_once(postgres: Postgres, databases: Databases) -> None:
    tenants = [tenant(f"many-{i}") for i in range(20)]
    await asyncio.gather(*(databases.ensure_tenant(target(postgres), one) for one in tenants))
    snapshot = await databases.snapshot(target(postgres))
    assert all(snapshot.holds(one) for one in tenants)
    assert not [name for name in snapshot.databases if name.startswith("making_")]


class Killed(BaseException):
    """Stands for kill -9 in the middle of a statement list."""


@pytest.mark.parametrize("die_after", range(14))
@pytest.mark.parametrize("spare", [False, True])
async def test_killed_after_any_statement_it_is_completed_later(
    postgres: Postgres, databases: Databases, monkeypatch: pytest.MonkeyPatch, die_after: int, spare: bool
) -> None:
    one = tenant(f"kill-{int(spare)}-{die_after}")
    while spare and await databases.fill_spares(target(postgres), 1):
        pass
    seen = 0
    real = asyncpg.Connection.execute

    async def execute(self: asyncpg.Connection, query: str, *args: object, **kwargs: object) -> str:
        nonlocal seen
        result: str = await real(self, query, *args, **kwargs)  # type: ignore[arg-type]
        if "pg_advisory" not in query and "UNLISTEN" not in query:
            seen += 1
            if seen == die_after + 1:
                raise Killed
        return result

    monkeypatch.setattr(asyncpg.Connection, "execute", execute)
    died = False
    try:
        await databases.ensure_tenant(target(postgres), one)
    except Killed:
        died = True
    monkeypatch.undo()
    await databases.close()
    fresh = Databases()
    try:
        await fresh.ensure_tenant(target(postgres), one)
        snapshot = await fresh.snapshot(target(postgres))
        assert snapshot.holds(one)
        assert steps.unfinished_name(one) not in snapshot.databases
        owners = await _owners(postgres, one.database)
        assert owners == {one.role}
        assert (await fresh.drop_tenant(target(postgres), one)).clean
    finally:
        await fresh.close()
    assert died or die_after >= (5 if spare else 8), "the list of statements is shorter than this test thinks"


async def _owners(postgres: Postgres, database: str) -> set[str]:
    connection = await postgres.connect(database)
    try:
        return {r[0] for r in await connection.fetch("SELECT tableowner FROM pg_tables WHERE schemaname='public'")}
    finally:
        await connection.close()


async def test_changed_password_takes_effect(postgres: Postgres, databases: Databases) -> None:
    one = tenant("rekey")
    await databases.ensure_tenant(target(postgres), one)
    changed = replace(one, password="another-password")
    await databases.ensure_tenant(target(postgres), changed)
    with pytest.raises(asyncpg.InvalidPasswordError):
        await postgres.connect(one.database, user=one.role, password=one.password)
    await (await postgres.connect(one.database, user=one.role, password="another-password")).close()


async def test_passwords_never_reach_the_servers_log(postgres: Postgres, databases: Databases) -> None:
    one = tenant("logless", password="very-secret-text")
    await databases.ensure_tenant(target(postgres), one)
    log = (postgres.folder / "log").read_text()
    assert f'CREATE ROLE "{one.role}"' in log, "the server does not log DDL, so this test would prove nothing"
    assert "very-secret-text" not in log
    assert postgres.app_password not in log


async def test_down_and_back(own_postgres: Postgres) -> None:
    server = target(own_postgres)
    databases = Databases(Limits(connect_seconds=10, breaker_failures=2, breaker_seconds=0.3))
    try:
        await databases.ensure_server(server)
        with pytest.raises(TemplateMissing):
            await databases.ensure_tenant(server, tenant("down"))
        await migrate_template(own_postgres)
        await databases.mark_template(server, "r1")
        own_postgres.stop("immediate")
        for _ in range(4):
            with pytest.raises(DatabaseUnavailable):
                await databases.ensure_tenant(server, tenant("down"))
        own_postgres.start()
        await asyncio.sleep(0.4)
        await databases.ensure_tenant(server, tenant("down"))
        assert (await databases.snapshot(server)).holds(tenant("down"))
    finally:
        await databases.close()
