"""Faults that are rare in a test and certain in a year: strangers' sessions, flips, a lost server, many who wait."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from elink_operator.database import DatabaseError, Databases, DatabaseUnavailable
from elink_operator.database.sessions import Limits

from tests.operator.database.conftest import migrate_template, target, tenant
from tests.support.postgres import Postgres


async def test_a_change_that_is_taken_back_is_written_back(postgres: Postgres, databases: Databases) -> None:
    active = tenant("flip")
    await databases.ensure_tenant(target(postgres), active)
    await databases.snapshot(target(postgres))
    await databases.ensure_tenant(target(postgres), replace(active, state="Suspended"))
    await databases.ensure_tenant(target(postgres), active)
    registry = await postgres.connect("elink_registry")
    assert await registry.fetchval("SELECT state FROM tenant WHERE name = 'flip'") == "Active"
    await registry.close()


async def test_a_superusers_session_delays_the_erasure_with_a_reason(postgres: Postgres, databases: Databases) -> None:
    doomed = tenant("watched")
    await databases.ensure_tenant(target(postgres), doomed)
    app = await postgres.connect(doomed.database, user="elink_app", password=postgres.app_password)
    stranger = await postgres.connect(doomed.database)
    with pytest.raises(DatabaseError, match="in use") as raised:
        await databases.drop_tenant(target(postgres), doomed)
    assert raised.value.reason == "DatabaseInUse"
    assert app.is_closed() or not await _alive(app), "the app's session should have been ended all the same"
    await stranger.close()
    assert (await databases.drop_tenant(target(postgres), doomed)).clean


async def _alive(connection: object) -> bool:
    try:
        await connection.execute("SELECT 1")  # type: ignore[attr-defined]
    except Exception:
        return False
    return True


async def test_the_postgresql_of_another_server_is_not_taken_over(postgres: Postgres, databases: Databases) -> None:
    """Two Secrets that name one PostgreSQL: the second server would set other passwords, and serve the first's."""
    one = tenant("first-come")
    await databases.ensure_tenant(target(postgres), one)
    rival = target(postgres, "shared-2", app_password="another-one")
    with pytest.raises(DatabaseError, match="is the one of server shared-1") as raised:
        await databases.ensure_server(rival)
    assert raised.value.reason == "DatabaseTaken"
    app = await postgres.connect(one.database, user="elink_app", password=postgres.app_password)
    await app.close()
    again = Databases()
    await again.ensure_server(target(postgres))
    await again.close()


async def test_an_emptied_server_is_prepared_again(own_postgres: Postgres) -> None:
    """A PostgreSQL that was replaced by a new one under the same address."""
    databases = Databases()
    server = target(own_postgres)
    try:
        await databases.ensure_server(server)
        admin = await own_postgres.connect()
        for name in ("elink_registry", "elink_template"):
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()
        with pytest.raises(DatabaseError):
            await databases.snapshot(server)
        await databases.ensure_server(server)
        await migrate_template(own_postgres)
        await databases.mark_template(server, "r1")
        await databases.ensure_tenant(server, tenant("reborn"))
        assert (await databases.snapshot(server)).holds(tenant("reborn"))
    finally:
        await databases.close()


@contextmanager
def black_hole() -> Iterator[int]:
    """A port that takes connections and never answers, as a PostgreSQL behind a broken network does."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(256)
        yield int(listener.getsockname()[1])


async def test_a_silent_server_holds_its_callers_for_one_timeout_only(postgres: Postgres) -> None:
    with black_hole() as port:
        databases = Databases(Limits(connect_seconds=2, breaker_failures=3, breaker_seconds=30))
        silent = replace(target(postgres), port=port)
        began = time.monotonic()
        results = await asyncio.gather(
            *(databases.ensure_tenant(silent, tenant(f"hole-{i}")) for i in range(32)), return_exceptions=True
        )
        took = time.monotonic() - began
        await databases.close()
    assert all(isinstance(result, DatabaseUnavailable) for result in results), results
    assert took < 10, f"32 callers waited {took:.1f} s"


async def test_one_tenants_impossible_value_is_not_the_servers_failure(
    postgres: Postgres, databases: Databases
) -> None:
    bad = tenant("impossible", setup_expires_at="not a time")
    for _ in range(4):
        with pytest.raises(DatabaseError) as raised:
            await databases.ensure_tenant(target(postgres), bad)
        assert not isinstance(raised.value, DatabaseUnavailable)
    await databases.ensure_tenant(target(postgres), tenant("beside-it"))


async def test_counting_needs_no_extension_and_sees_odd_tables(postgres: Postgres, databases: Databases) -> None:
    one, two = tenant("odd-1"), tenant("odd-2")
    for each in (one, two):
        await databases.ensure_tenant(target(postgres), each)
    connection = await postgres.connect(two.database, user="elink_app", password=postgres.app_password)
    await connection.execute(f'SET ROLE "{two.role}"')
    await connection.execute("""CREATE TABLE "o'dd ""table" (x int); INSERT INTO "o'dd ""table" VALUES (1), (2)""")
    await connection.execute("CREATE TABLE part (x int) PARTITION BY LIST (x)")
    await connection.execute("CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1)")
    await connection.execute("INSERT INTO part VALUES (1)")
    await connection.close()
    _, tables = (await databases.census(target(postgres), one.database)).databases[two.database]
    assert tables == {"address": 0, "o'dd \"table": 2, "part_1": 1}
