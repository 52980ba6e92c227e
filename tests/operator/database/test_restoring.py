"""The switch of a restore: cut at every statement, beside neighbours of almost the same name, under live sessions."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import asyncpg
import pytest
from elink_operator import naming
from elink_operator.database import DatabaseError, DatabaseLost, Databases, DatabaseTaken, ServerDb, TenantDb, census
from elink_operator.database.model import Census, kept_marker, scratch_marker, tenant_marker

from tests.operator.database.conftest import target, tenant
from tests.operator.database.test_interrupted import CUTS, Cut, Killed, die, killer, run_until_done
from tests.support.postgres import Postgres

OLD, NEW = "as it was", "restored"
CUT_OFF = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)


def names(one: TenantDb) -> tuple[str, str]:
    """Scratch and kept of this tenant's restore."""
    restore = naming.digest(f"restore of {one.name}")
    return naming.scratch_database(one.name, restore), naming.kept_database(one.name, restore)


async def write(postgres: Postgres, database: str, text: str) -> None:
    connection = await postgres.connect(database)
    owner = await connection.fetchval("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = $1", database)
    await connection.execute(f'SET ROLE "{owner}"')
    await connection.execute("CREATE TABLE IF NOT EXISTS address (id bigserial PRIMARY KEY, name text NOT NULL)")
    await connection.execute("INSERT INTO address (name) VALUES ($1)", text)
    await connection.close()


async def read(postgres: Postgres, database: str) -> list[str]:
    connection = await postgres.connect(database)
    rows = await connection.fetch("SELECT name FROM address ORDER BY id")
    await connection.close()
    return [row[0] for row in rows]


async def prepared(postgres: Postgres, databases: Databases, name: str) -> TenantDb:
    """A tenant with something in it, and a scratch database with something else."""
    one = tenant(name)
    await databases.ensure_tenant(target(postgres), one)
    await write(postgres, one.database, OLD)
    await databases.make_scratch(target(postgres), one, names(one)[0])
    await write(postgres, names(one)[0], NEW)
    return one


async def mine(databases: Databases, server: ServerDb, one: TenantDb) -> dict[str, str]:
    """The databases that bear the tenant's uid: name → marker."""
    markers = {tenant_marker(one.uid), scratch_marker(one.uid), kept_marker(one.uid)}
    found = (await databases.snapshot(server)).databases
    return {name: fact.marker for name, fact in found.items() if fact.marker in markers}


async def test_there_and_back_and_away(postgres: Postgres, databases: Databases) -> None:
    server = target(postgres)
    one = await prepared(postgres, databases, "restore")
    near = await prepared(postgres, databases, "restore-x")
    scratch, kept = names(one)
    assert await databases.drop_kept(server, one, kept) is False
    await databases.adopt_scratch(server, one, scratch, kept)
    await databases.adopt_scratch(server, one, scratch, kept)
    assert await mine(databases, server, one) == {one.database: tenant_marker(one.uid), kept: kept_marker(one.uid)}
    assert await read(postgres, one.database) == [NEW]
    assert (await databases.snapshot(server)).holds(one)
    with pytest.raises(asyncpg.PostgresError, match="not currently accepting connections"):
        await postgres.connect(kept)
    await databases.return_kept(server, one, kept, scratch)
    await databases.return_kept(server, one, kept, scratch)
    assert (await databases.snapshot(server)).holds(one)
    assert await read(postgres, one.database) == [OLD]
    await databases.adopt_scratch(server, one, scratch, kept)
    assert await read(postgres, one.database) == [NEW]
    assert await databases.drop_kept(server, one, kept) is True
    assert await databases.drop_scratch(server, one, scratch) is False
    assert await mine(databases, server, one) == {one.database: tenant_marker(one.uid)}
    assert await databases.ensure_tenant(server, one, may_make=False) is False
    assert set(await mine(databases, server, near)) == {near.database, names(near)[0]}
    assert await read(postgres, near.database) == [OLD]


async def test_a_scratch_is_empty_and_its_owners_alone(postgres: Postgres, databases: Databases) -> None:
    server = target(postgres)
    one = await prepared(postgres, databases, "scratch")
    other = tenant("scratch-2", password="other-password")
    await databases.ensure_tenant(server, other)
    scratch, _ = names(one)
    await databases.make_scratch(server, one, scratch)
    inside = await postgres.connect(scratch, user=one.role, password=one.password)
    assert await inside.fetchval("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == 0
    await inside.execute("CREATE TABLE brought_back (id int)")
    for user, password in (("elink_app", postgres.app_password), (other.role, other.password)):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await postgres.connect(scratch, user=user, password=password)
    assert await databases.drop_scratch(server, one, scratch) is True
    with pytest.raises(CUT_OFF):
        await inside.execute("SELECT 1")


@pytest.mark.parametrize("how", ["operator dies", "sessions end"])
@pytest.mark.parametrize("way", ["make", "adopt", "return"])
async def test_cut_anywhere_it_is_finished_later(
    postgres: Postgres, databases: Databases, monkeypatch: pytest.MonkeyPatch, way: str, how: str
) -> None:
    server = target(postgres)
    one = await prepared(postgres, databases, f"switch-{way}-{how[0]}")
    scratch, kept = names(one)

    async def work(using: Databases) -> None:
        if way == "make":
            await using.make_scratch(server, one, scratch)
        elif way == "adopt":
            await using.adopt_scratch(server, one, scratch, kept)
        else:
            await using.return_kept(server, one, kept, scratch)

    for at in CUTS:
        if way == "return":
            await databases.adopt_scratch(server, one, scratch, kept)
        cut = Cut(at, die if how == "operator dies" else killer(postgres))
        dying = Databases()
        with cut.applied(monkeypatch), suppress(Killed, DatabaseError):
            await work(dying)
        found = await run_until_done(lambda: mine(databases, server, one))
        assert one.database in found, (at, found)
        fresh = Databases()
        await run_until_done(lambda fresh=fresh: work(fresh))
        assert await read(postgres, one.database) == [NEW if way == "adopt" else OLD]
        assert (await fresh.snapshot(server)).holds(one)
        if way == "adopt":
            await databases.return_kept(server, one, kept, scratch)
        if way == "make":
            connection = await postgres.connect(scratch, user=one.role, password=one.password)
            await connection.close()
        assert set(await mine(databases, server, one)) == {one.database, scratch}
        await fresh.close()
        await dying.close()
        if not cut.done:
            break
    assert not cut.done, "the sequence is longer than this test thinks"
    assert at > 6


async def test_a_switch_that_is_given_up_is_opened_again(
    postgres: Postgres, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The restore is taken back after its operator died with both databases closed."""
    server = target(postgres)
    for ending in ("return", "ensure"):
        one = await prepared(postgres, databases, f"given-up-{ending}")
        scratch, kept = names(one)
        real = asyncpg.Connection.execute

        async def dying(connection: asyncpg.Connection, query: str, *args: object, real: object = real) -> str:
            done: str = await real(connection, query, *args)  # type: ignore[operator]
            if "ALLOW_CONNECTIONS false" in query:
                raise Killed
            return done

        with monkeypatch.context() as patch:
            patch.setattr(asyncpg.Connection, "execute", dying)
            with pytest.raises(Killed):
                await databases.adopt_scratch(server, one, scratch, kept)
        assert not (await databases.snapshot(server)).serves(one.name, one.database, one.role)
        with pytest.raises(DatabaseError, match="exchanged by a restore"):
            await databases.census(server, "t_somebody_else")
        if ending == "return":
            await databases.return_kept(server, one, kept, scratch)
        else:
            await databases.ensure_tenant(server, one, may_make=False)
        assert (await databases.snapshot(server)).holds(one)
        assert await read(postgres, one.database) == [OLD]
        assert one.database in (await databases.census(server, "t_somebody_else")).databases


async def test_live_sessions_are_ended_and_a_neighbours_are_not(postgres: Postgres, databases: Databases) -> None:
    server = target(postgres)
    one, near = [await prepared(postgres, databases, name) for name in ("busy", "busy-1")]
    scratch, kept = names(one)
    app = {"user": "elink_app", "password": postgres.app_password}
    cut = await postgres.connect(one.database, **app)
    own = await postgres.connect(scratch, user=one.role, password=one.password)
    stays = await postgres.connect(near.database, **app)
    await databases.adopt_scratch(server, one, scratch, kept)
    for gone in (cut, own):
        with pytest.raises(CUT_OFF):
            await gone.execute("SELECT 1")
    assert await stays.fetchval("SELECT 1") == 1
    await stays.close()
    again = await postgres.connect(one.database, **app)
    await again.close()


async def test_what_is_not_marked_as_this_tenants_is_not_touched(postgres: Postgres, databases: Databases) -> None:
    server = target(postgres)
    one = await prepared(postgres, databases, "own")
    other = await prepared(postgres, databases, "own-2")
    scratch, kept = names(one)
    theirs, _ = names(other)
    admin = await postgres.connect()
    await admin.execute('CREATE DATABASE "unmarked"')
    before = (await databases.snapshot(server)).databases
    for foreign in (theirs, other.database, "unmarked", "elink_template"):
        for call in (
            databases.make_scratch(server, one, foreign),
            databases.drop_scratch(server, one, foreign),
            databases.drop_kept(server, one, foreign),
            databases.adopt_scratch(server, one, foreign, kept),
            databases.adopt_scratch(server, one, scratch, foreign),
            databases.return_kept(server, one, foreign, scratch),
        ):
            with pytest.raises(DatabaseTaken):
                await call
    impostor = replace(one, uid="another-uid")
    for call in (
        databases.make_scratch(server, impostor, scratch),
        databases.drop_scratch(server, impostor, scratch),
        databases.adopt_scratch(server, impostor, scratch, kept),
        databases.return_kept(server, impostor, kept, scratch),
    ):
        with pytest.raises(DatabaseTaken):
            await call
    assert (await databases.snapshot(server)).databases == before
    await admin.execute('DROP DATABASE "unmarked"')
    await admin.close()


async def test_nothing_to_adopt_is_no_success(postgres: Postgres, databases: Databases) -> None:
    server = target(postgres)
    one = tenant("no-scratch")
    await databases.ensure_tenant(server, one)
    scratch, kept = names(one)
    with pytest.raises(DatabaseLost):
        await databases.adopt_scratch(server, one, scratch, kept)
    await databases.make_scratch(server, one, scratch)
    await databases.adopt_scratch(server, one, scratch, kept)
    await databases.make_scratch(server, one, scratch)
    with pytest.raises(DatabaseTaken, match="there already"):
        await databases.adopt_scratch(server, one, scratch, kept)
    with pytest.raises(DatabaseTaken, match="there already"):
        await databases.return_kept(server, one, kept, scratch)
    assert set(await mine(databases, server, one)) == {one.database, scratch, kept}


async def test_a_lost_tenant_comes_back(postgres: Postgres, databases: Databases) -> None:
    """Database, role and row are gone: what is left is what the operator knows."""
    server = target(postgres)
    one = tenant("come-back")
    scratch, kept = names(one)
    await databases.make_scratch(server, one, scratch)
    connection = await postgres.connect(scratch, user=one.role, password=one.password)
    await connection.execute("CREATE TABLE address (id bigserial PRIMARY KEY, name text)")
    await connection.execute("INSERT INTO address (name) VALUES ('x')")
    await connection.close()
    for _ in range(2):
        await databases.adopt_scratch(server, one, scratch, kept)
    await databases.return_kept(server, one, kept, scratch)
    assert await databases.ensure_tenant(server, one, may_make=False) is False
    assert (await databases.snapshot(server)).holds(one)
    assert await read(postgres, one.database) == ["x"]


async def test_an_erasure_takes_what_restores_left(postgres: Postgres, databases: Databases) -> None:
    server = target(postgres)
    doomed, near = [await prepared(postgres, databases, name) for name in ("gone", "gone-2")]
    for one in (doomed, near):
        await databases.adopt_scratch(server, one, *names(one))
        await databases.make_scratch(server, one, names(one)[0])
    traces = (await databases.snapshot(server)).traces(doomed)
    assert {f"database {name}" for name in names(doomed)} <= set(traces)
    assert f"records of restores of {doomed.name}" in traces
    evidence = await databases.drop_tenant(server, doomed)
    assert evidence.clean, evidence
    said = " ".join(text for _, text in evidence.steps)
    assert all(f"{name} dropped" in said for name in (doomed.database, *names(doomed)))
    assert set(await mine(databases, server, near)) == {near.database, *names(near)}
    assert (await databases.snapshot(server)).holds(near)


async def test_a_restore_is_no_harm_to_a_neighbour(postgres: Postgres, databases: Databases) -> None:
    server = target(postgres)
    one = await prepared(postgres, databases, "harmless")
    scratch, kept = names(one)
    before = await databases.census(server, "t_erased")
    assert not {scratch, kept} & before.databases.keys()
    kept_record = before.record().census()
    await databases.adopt_scratch(server, one, scratch, kept)
    adopted = await databases.census(server, "t_erased")
    assert before.harmed(adopted) == kept_record.harmed(adopted) == ()
    await databases.return_kept(server, one, kept, scratch)
    await databases.drop_scratch(server, one, scratch)
    returned = await databases.census(server, "t_erased")
    assert adopted.harmed(returned) == before.harmed(returned) == ()
    admin = await postgres.connect()
    await admin.execute(f"DROP DATABASE {one.database}; ")
    await admin.execute(f"CREATE DATABASE {one.database} OWNER {one.role}")
    await admin.execute(f"COMMENT ON DATABASE {one.database} IS '{tenant_marker(one.uid)}'")
    await admin.close()
    replaced = await databases.census(server, "t_erased")
    assert f"database {one.database} was replaced by another of the same name" in returned.harmed(replaced)


def test_switches_lead_on_and_end() -> None:
    after = Census({}, frozenset({(1, 2), (2, 3), (3, 1), (7, 8)}))
    assert after.follows(1, 3)
    assert after.follows(3, 2)
    assert not after.follows(1, 8)
    assert not after.follows(8, 7)


OLD_REGISTRY = """
CREATE TABLE tenant (
    name text PRIMARY KEY, uid text NOT NULL, host text NOT NULL UNIQUE, database text NOT NULL UNIQUE,
    role text NOT NULL, directory text NOT NULL UNIQUE,
    state text NOT NULL CHECK (state IN ('Active', 'Suspended', 'Cancelled')),
    state_reason text NOT NULL DEFAULT '', display_name text NOT NULL,
    language text NOT NULL CHECK (language IN ('ja', 'en')), limits jsonb NOT NULL,
    contacts jsonb NOT NULL DEFAULT '{}', mail jsonb NOT NULL DEFAULT '{}', master_email text NOT NULL,
    setup_token_sha256 text NOT NULL DEFAULT '', setup_expires_at timestamptz, spec_hash text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
)
"""


async def test_a_registry_from_before_learns_of_maintenance(own_postgres: Postgres) -> None:
    admin = await own_postgres.connect(user=own_postgres.admin)
    await admin.execute("CREATE DATABASE elink_registry")
    await admin.close()
    old = await own_postgres.connect("elink_registry", user=own_postgres.admin)
    # Before PostgreSQL 15 `public` is everybody's; a registry that the operator made is the operator's.
    await old.execute(OLD_REGISTRY)
    insert = (
        "INSERT INTO tenant (name, uid, host, database, role, directory, state, display_name, language, limits, "
        "master_email, spec_hash) VALUES ($1, 'u', $1, $1, $1, $1, $2, 'd', 'ja', '{}', 'm', 'h')"
    )
    await old.execute(insert, "old", "Active")
    with pytest.raises(asyncpg.CheckViolationError):
        await old.execute(insert, "early", "Maintenance")
    databases = Databases()
    try:
        for _ in range(2):
            await databases.ensure_server(target(own_postgres))
            await databases.close()
    finally:
        await databases.close()
    await old.execute(insert, "new", "Maintenance")
    with pytest.raises(asyncpg.CheckViolationError):
        await old.execute(insert, "wrong", "Maintaining")
    await old.close()


async def test_a_switch_in_the_middle_of_a_census_is_no_answer(
    postgres: Postgres, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = target(postgres)
    one = await prepared(postgres, databases, "meanwhile")
    scratch, kept = names(one)
    real = census._count
    other = Databases()

    async def late(sessions: object, name: str) -> dict[str, int]:
        if name == one.database:
            await other.adopt_scratch(server, one, scratch, kept)
        return await real(sessions, name)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(census, "_count", late)
        with pytest.raises(DatabaseError, match="exchanged by a restore while"):
            await databases.census(server, "t_somebody_else")
    assert one.database in (await databases.census(server, "t_somebody_else")).databases
    await other.close()
