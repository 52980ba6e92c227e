"""Dropping a tenant beside neighbours who must not notice."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from elink_operator.api.tenant import NeighbourTables
from elink_operator.database import Census, CensusRecord, Databases

from tests.operator.database.conftest import target, tenant
from tests.support.postgres import Postgres


async def test_open_sessions_are_ended_and_those_of_neighbours_are_not(
    postgres: Postgres, databases: Databases
) -> None:
    doomed, neighbour = tenant("drop"), tenant("drop-x")
    for one in (doomed, neighbour):
        await databases.ensure_tenant(target(postgres), one)
    app = {"user": "elink_app", "password": postgres.app_password}
    cut = await postgres.connect(doomed.database, **app)
    kept = await postgres.connect(neighbour.database, **app)
    stubborn = asyncio.create_task(_reconnect(postgres, doomed.database))
    evidence = await databases.drop_tenant(target(postgres), doomed)
    stubborn.cancel()
    assert evidence.clean
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await cut.execute("SELECT 1")
    assert await kept.fetchval("SELECT 1") == 1
    await kept.close()


async def _reconnect(postgres: Postgres, database: str) -> None:
    while True:
        try:
            await postgres.connect(database, user="elink_app", password=postgres.app_password)
        except (asyncpg.PostgresError, OSError):
            await asyncio.sleep(0.01)


async def test_erasing_twice_or_nothing_is_clean(postgres: Postgres, databases: Databases) -> None:
    one = tenant("twice")
    await databases.ensure_tenant(target(postgres), one)
    assert (await databases.drop_tenant(target(postgres), one)).clean
    assert (await databases.drop_tenant(target(postgres), one)).clean
    assert (await databases.drop_tenant(target(postgres), tenant("never-was"))).clean


async def test_census_counts_neighbours_exactly(postgres: Postgres, databases: Databases) -> None:
    one, two, three = tenant("c"), tenant("c-1"), tenant("c1")
    for each in (one, two, three):
        await databases.ensure_tenant(target(postgres), each)
    connection = await postgres.connect(two.database)
    await connection.execute("INSERT INTO address (name) SELECT 'x' FROM generate_series(1, 7)")
    await connection.close()
    census = await databases.census(target(postgres), one.database)
    assert one.database not in census.databases
    assert census.rows[two.database] == 7
    assert census.rows[three.database] == 0
    await databases.drop_tenant(target(postgres), one)
    assert census.harmed(await databases.census(target(postgres), one.database)) == ()


def test_harm_is_named() -> None:
    before = Census({"a": (1, {"t": 5}), "b": (2, {"t": 1, "u": 0}), "c": (3, {}), "d": (4, {"t": 3})})
    after = Census({"a": (1, {"t": 0}), "b": (2, {"t": 2}), "c": (9, {}), "e": (5, {})})
    assert before.harmed(after) == (
        "table t of database a lost all of its rows",
        "table u of database b is gone",
        "database c was replaced by another of the same name",
        "database d is gone",
    )
    assert before.harmed(before) == ()


def test_a_record_of_a_census_notices_the_same() -> None:
    before = Census({"a": (1, {"t": 5}), "b": (2, {"t": 1, "u": 0}), "c": (3, {}), "d": (2**32 - 1, {"t": 3, "z": 9})})
    after = Census({"a": (1, {"t": 0}), "b": (2, {"t": 2}), "c": (9, {}), "e": (5, {})})
    record = before.record()
    assert record.marks == {"a": "1 1 1", "b": "2 3 1", "c": "3 0 0", "d": "4294967295 5 5"}
    assert record.census().harmed(after) == before.harmed(after)
    assert record.census().harmed(before) == ()
    assert record.census().record() == record


@pytest.mark.parametrize("mark", ["", "1", "1 2", "x 1 1", "1 1 1 1"])
def test_what_is_no_record_is_refused(mark: str) -> None:
    with pytest.raises(ValueError, match=r"zip|invalid literal"):
        CensusRecord(("t",), {"a": mark}).census()


def test_the_longest_record_fits_the_schema() -> None:
    many = Census({"t_a": (2**32 - 1, {f"table_{n:03}": 1 for n in range(300)})})
    record = many.record()
    field = {"tables": record.tables, "databases": record.marks}
    assert NeighbourTables.parse(field).databases == record.marks
    assert len(record.tables) == 256


async def test_spares_follow_the_template(postgres: Postgres, databases: Databases) -> None:
    server = target(postgres)
    while await databases.fill_spares(server, 2):
        pass
    spares = {n for n in (await databases.snapshot(server)).databases if n.startswith("spare_")}
    assert len(spares) == 2
    one = tenant("from-spare")
    await databases.ensure_tenant(server, one)
    left = {n for n in (await databases.snapshot(server)).databases if n.startswith("spare_")}
    assert len(left) == 1
    assert left < spares
    await databases.mark_template(server, "r2")
    while await databases.fill_spares(server, 1):
        pass
    renewed = {n for n in (await databases.snapshot(server)).databases if n.startswith("spare_")}
    assert len(renewed) == 1
    assert not renewed & spares
    await databases.mark_template(server, "r1")
