"""What PostgreSQL keeps of a dropped tenant is looked for in its files, byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from elink_operator.database import DatabaseError, Databases

from tests.operator.database.conftest import migrate_template, target, tenant
from tests.support.postgres import Postgres, running

NAME, SECRET, CONTACT = "isshou-7f3a91", "himitsu-4c1d90", "kanri@isshou-7f3a91.example"


@pytest.fixture
def allowed() -> Iterator[Postgres]:
    """The operator may what the image of a server lets it (here all, PostgreSQL 15 knows no MAINTAIN)."""
    with running(superuser_admin=True) as server:
        yield server


@pytest.fixture
async def databases() -> AsyncIterator[Databases]:
    found = Databases()
    yield found
    await found.close()


def holds(postgres: Postgres, word: str) -> list[str]:
    """Files of the server, its write-ahead log included, with the word in path or content."""
    top = postgres.folder / "data"

    def inside(path: Path) -> bool:
        # A running server also removes files.
        with suppress(FileNotFoundError):
            return path.is_file() and word.encode() in path.read_bytes()
        return False

    return [str(path.relative_to(top)) for path in sorted(top.rglob("*")) if word in str(path) or inside(path)]


async def dropped(postgres: Postgres, databases: Databases) -> None:
    """A tenant with a planted row and a contact lived here and was dropped; a neighbour stays."""
    await databases.ensure_server(target(postgres))
    await migrate_template(postgres)
    await databases.mark_template(target(postgres), "1")
    doomed = tenant(NAME, uid="0f5e3c1a-77d2", master_email=CONTACT)
    for one in (doomed, tenant("tonari")):
        await databases.ensure_tenant(target(postgres), one)
    connection = await postgres.connect(doomed.database)
    await connection.execute(f"INSERT INTO address (name) SELECT '{SECRET} ' || n FROM generate_series(1, 500) n")
    await connection.close()
    registry = await postgres.connect("elink_registry")
    for _ in range(2):  # as autovacuum does; rows that were there before are samples, too
        await registry.execute("ANALYZE tenant, delivery_wakeup, notice, database_switch, domain_pace")
        await databases.ensure_tenant(target(postgres), replace(doomed, state="Suspended"))
    await registry.close()
    assert (await databases.drop_tenant(target(postgres), doomed)).clean


async def configure(postgres: Postgres, setting: str) -> None:
    connection = await postgres.connect()
    await connection.execute(f"ALTER SYSTEM SET {setting}")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()


async def test_nothing_is_left_in_the_files(allowed: Postgres, databases: Databases) -> None:
    await configure(allowed, "wal_recycle = off")
    await dropped(allowed, databases)
    assert any(path.startswith("pg_wal/") for path in holds(allowed, SECRET)), "the search must find what is there"
    first, second = await asyncio.gather(*(databases.clear_residue(target(allowed)) for _ in range(2)))
    assert first.registry
    assert first.catalogs
    assert first.log.startswith("all segments up to ")
    assert second.log
    assert holds(allowed, SECRET) == []
    assert holds(allowed, CONTACT) == []
    assert holds(allowed, NAME) == []
    assert holds(allowed, NAME.replace("-", "_")) == []
    assert (await databases.snapshot(target(allowed))).holds(tenant("tonari")), "the neighbour is as it was"


async def test_a_log_that_is_used_again_is_not_called_clear(allowed: Postgres, databases: Databases) -> None:
    await dropped(allowed, databases)
    assert (await databases.clear_residue(target(allowed))).log == ""


async def test_what_the_record_says_remains_is_all_that_does(allowed: Postgres, databases: Databases) -> None:
    """Names, in planner statistics of shared catalogs and in the queue of notifications; nothing else, nowhere else."""
    await configure(allowed, "wal_recycle = off")
    await databases.ensure_server(target(allowed))
    for name in ("postgres", "elink_registry"):
        connection = await allowed.connect(name)
        await connection.execute(f'CREATE ROLE "t_{NAME}"')
        await connection.execute("ANALYZE pg_database, pg_authid")
        await connection.execute(f'DROP ROLE "t_{NAME}"')
        await connection.close()
    listener = await allowed.connect("elink_registry")
    await listener.add_listener("elink_registry", lambda *_: None)
    told = await allowed.connect("elink_registry")
    await told.execute("SELECT pg_notify('elink_registry', $1 || n) FROM generate_series(1, 3000) n", NAME)
    await dropped(allowed, databases)
    await databases.clear_residue(target(allowed))
    folders = {path.split("/")[0] for path in holds(allowed, NAME)}
    assert folders == {"base", "pg_notify"}
    statistics = []
    for name in ("postgres", "elink_registry", "t_tonari"):
        connection = await allowed.connect(name)
        statistics.append(await connection.fetchval("SELECT pg_relation_filepath('pg_statistic')"))
        await connection.close()
    assert {path for path in holds(allowed, NAME) if path.startswith("base/")} <= set(statistics)
    assert holds(allowed, CONTACT) == []
    assert holds(allowed, SECRET) == []
    for connection in (listener, told):
        await connection.close()


@pytest.mark.parametrize(
    ("reads", "said"), [("pg_class", "keeps dead rows of pg_database"), ("pg_database", "somebody reads pg_database")]
)
async def test_a_backup_that_runs_is_waited_for(allowed: Postgres, databases: Databases, reads: str, said: str) -> None:
    """As pg_dump of a neighbour does: one snapshot, and a lock on what it has read."""
    await databases.ensure_server(target(allowed))
    reader = await allowed.connect("postgres")
    snapshot = reader.transaction(isolation="repeatable_read", readonly=True)
    await snapshot.start()
    await reader.fetchval(f"SELECT count(*) FROM {reads}")
    await dropped(allowed, databases)
    with pytest.raises(DatabaseError, match=said):
        await databases.clear_residue(target(allowed))
    await snapshot.rollback()
    await reader.close()
    assert (await databases.clear_residue(target(allowed))).catalogs


async def test_without_the_rights_it_says_what_stays(own_postgres: Postgres, databases: Databases) -> None:
    await configure(own_postgres, "wal_recycle = off")
    await dropped(own_postgres, databases)
    found = await databases.clear_residue(target(own_postgres))
    assert (found.catalogs, found.log) == ("", "")
    assert found.registry, "the registry is the operator's own"
    assert [path for path in holds(own_postgres, CONTACT) if not path.startswith("pg_wal/")] == []
