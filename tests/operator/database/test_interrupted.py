"""Every sequence of statements cut at every statement: by the death of the operator, or of its connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import asyncpg
import pytest
from elink_operator.database import DatabaseError, DatabaseFull, Databases, TooManyConnections

from tests.operator.database.conftest import migrate_template, target, tenant
from tests.support.postgres import Postgres

T = TypeVar("T")
CUTS = range(40)
"""More than any sequence has statements: the last cuts find it complete, which the tests demand."""


class Killed(BaseException):
    """Stands for kill -9: nothing of the program runs on."""


class Cut:
    """Counts the operator's statements and does `harm` after number `at`."""

    def __init__(self, at: int, harm: Callable[[asyncpg.Connection], Awaitable[None]]) -> None:
        self.at = at
        self.count = 0
        self.done = False
        self._harm = harm

    @contextmanager
    def applied(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        with monkeypatch.context() as patch:
            for method in ("execute", "fetch", "fetchval", "fetchrow"):
                patch.setattr(asyncpg.Connection, method, self._wrap(getattr(asyncpg.Connection, method)))
            yield

    def _wrap(self, real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def statement(connection: asyncpg.Connection, *args: Any, **kwargs: Any) -> Any:
            result = await real(connection, *args, **kwargs)
            self.count += 1
            if self.count == self.at + 1:
                self.done = True
                await self._harm(connection)
            return result

        return statement


async def die(connection: asyncpg.Connection) -> None:
    connection.terminate()
    raise Killed


def killer(postgres: Postgres) -> Callable[[asyncpg.Connection], Awaitable[None]]:
    """Ends every session of the operator, as a restart of PostgreSQL or of a proxy between them does."""
    real = asyncpg.Connection.execute

    async def end_sessions(_: asyncpg.Connection) -> None:
        admin = await postgres.connect()
        await real(
            admin,
            "DO $$BEGIN PERFORM pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'elink-operator'; END$$",
        )
        await admin.close()

    return end_sessions


async def run_until_done(work: Callable[[], Awaitable[T]]) -> T:
    """As the work queue does it: again after every error of ours."""
    for _ in range(20):
        try:
            return await work()
        except DatabaseError:
            await asyncio.sleep(0.05)
    return await work()


@pytest.mark.parametrize("how", ["operator dies", "sessions end"])
async def test_an_erasure_cut_anywhere_is_finished_later(
    postgres: Postgres, databases: Databases, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    neighbour = tenant("cut-neighbour")
    await databases.ensure_tenant(target(postgres), neighbour)
    for at in CUTS:
        doomed = tenant(f"cut-{at}")
        await databases.ensure_tenant(target(postgres), doomed)
        cut = Cut(at, die if how == "operator dies" else killer(postgres))
        with cut.applied(monkeypatch), suppress(Killed, DatabaseError):
            await databases.drop_tenant(target(postgres), doomed)
        fresh = Databases()
        evidence = await run_until_done(lambda fresh=fresh, doomed=doomed: fresh.drop_tenant(target(postgres), doomed))
        assert evidence.clean, (at, evidence)
        snapshot = await fresh.snapshot(target(postgres))
        assert not snapshot.traces(doomed)
        assert snapshot.holds(neighbour)
        await fresh.close()
        if not cut.done:
            break
    assert not cut.done, "the sequence is longer than this test thinks"
    assert at > 8


@pytest.mark.parametrize("spare", [False, True])
async def test_a_creation_whose_sessions_end_anywhere_is_finished_later(
    postgres: Postgres, databases: Databases, monkeypatch: pytest.MonkeyPatch, spare: bool
) -> None:
    for at in CUTS:
        while spare and await databases.fill_spares(target(postgres), 1):
            pass
        one = tenant(f"end-{int(spare)}-{at}")
        cut = Cut(at, killer(postgres))
        with cut.applied(monkeypatch):
            await run_until_done(lambda one=one: databases.ensure_tenant(target(postgres), one))
        snapshot = await run_until_done(lambda: databases.snapshot(target(postgres)))
        assert snapshot.holds(one)
        assert not [name for name in snapshot.databases if name.startswith("making_")]
        assert (await databases.drop_tenant(target(postgres), one)).clean
        if not cut.done:
            break
    assert not cut.done, "the sequence is longer than this test thinks"
    assert at > 8


async def test_a_preparation_cut_anywhere_is_finished_later(
    own_postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = target(own_postgres)
    for at in CUTS:
        cut = Cut(at, die)
        broken, fresh = Databases(), Databases()
        with cut.applied(monkeypatch), suppress(Killed):
            await broken.ensure_server(server)
        await broken.close()
        await fresh.ensure_server(server)
        await migrate_template(own_postgres)
        await fresh.mark_template(server, "r1")
        await fresh.ensure_tenant(server, tenant("first"))
        assert (await fresh.drop_tenant(server, tenant("first"))).clean
        admin = await own_postgres.connect()
        for name in ("elink_registry", "elink_template"):
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.execute("DROP ROLE elink_app; DROP ROLE elink_template")
        await admin.close()
        await fresh.close()
        if not cut.done:
            break
    assert not cut.done, "the sequence is longer than this test thinks"
    assert at > 12


async def test_leftovers_of_an_older_template_are_not_adopted(
    postgres: Postgres, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copied, then the operator died, then the template was migrated: the copy lacks the migration."""
    one = tenant("old-copy")
    with monkeypatch.context() as patch:
        patch.setattr("elink_operator.database.tenant._finish", _killed)
        with pytest.raises(Killed):
            await databases.ensure_tenant(target(postgres), one)
    connection = await postgres.connect("elink_template", user="elink_app", password=postgres.app_password)
    await connection.execute("SET ROLE elink_template; CREATE TABLE newer (x int)")
    await connection.close()
    try:
        await databases.ensure_tenant(target(postgres), one)
        inside = await postgres.connect(one.database)
        assert await inside.fetchval("SELECT to_regclass('public.newer')") == "newer"
        await inside.close()
    finally:
        connection = await postgres.connect("elink_template")
        await connection.execute("DROP TABLE newer")
        await connection.close()


async def _killed(*_: object) -> None:
    raise Killed


async def test_a_full_disk_and_a_full_server_are_told_apart(postgres: Postgres, databases: Databases) -> None:
    one = tenant("full")
    registry = await postgres.connect("elink_registry")
    await registry.execute("""
        CREATE FUNCTION disk_is_full() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END$$;
        CREATE TRIGGER disk_is_full BEFORE INSERT ON tenant FOR EACH ROW EXECUTE FUNCTION disk_is_full()
    """)
    try:
        with pytest.raises(DatabaseFull, match="enlarge the volume"):
            await databases.ensure_tenant(target(postgres), one)
    finally:
        await registry.execute("DROP TRIGGER disk_is_full ON tenant; DROP FUNCTION disk_is_full()")
        await registry.close()
    admin = await postgres.connect()
    await admin.execute(f"ALTER ROLE {postgres.admin} CONNECTION LIMIT 0")
    crowded = Databases()
    try:
        for _ in range(5):  # PostgreSQL answers, so this must not open the breaker
            with pytest.raises(TooManyConnections):
                await crowded.ensure_tenant(target(postgres), one)
    finally:
        await admin.execute(f"ALTER ROLE {postgres.admin} CONNECTION LIMIT -1")
        await admin.close()
    await crowded.ensure_tenant(target(postgres), one)
    assert (await crowded.snapshot(target(postgres))).holds(one)
    await crowded.close()
