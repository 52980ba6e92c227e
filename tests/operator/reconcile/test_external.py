"""A PostgreSQL that somebody else runs, with databases of others in it: restores, moves, rebuilding and erasure work
with the rights that docs/external-postgresql.md names, and touch nothing but what the operator made.

Every server of these tests' harness is External, with an administrator of CREATEDB and CREATEROLE only; here it is said
aloud, and looked at afterwards.
"""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest
from elink_operator import naming
from elink_operator.rebuild import rebuild

from tests.operator.reconcile.conftest import empty
from tests.operator.reconcile.harness import World, condition, is_ready, until
from tests.operator.reconcile.restoring import DONE, NEW, PATIENCE, Script, contents, phase

pytestmark = pytest.mark.timeout(900)

FOREIGN = "customer_crm"
LEFT_DATABASES = {"elink_registry", "elink_template", "postgres", FOREIGN}
"""What docs/external-postgresql.md says that a server leaves."""
LEFT_ROLES = {"elink_app", "elink_backup", "elink_operator", "elink_template", "postgres", FOREIGN}


async def look(world: World) -> dict[str, Any]:
    """Databases, roles, the administrator's rights, and the state of what is somebody else's."""
    databases = await world.sql("postgres", "SELECT datname FROM pg_database WHERE NOT datistemplate")
    roles = await world.sql("postgres", "SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_'")
    rights = (
        "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = $1"
    )
    admin = await world.sql("postgres", rights, world.postgres.admin)
    member = await world.sql(
        "postgres",
        "SELECT roleid::regrole::text FROM pg_auth_members WHERE member = $1::regrole",
        world.postgres.admin,
    )
    foreign = await world.sql(
        "postgres",
        "SELECT oid::int8, datdba::regrole::text, datacl::text, shobj_description(oid, 'pg_database'), datallowconn"
        " FROM pg_database WHERE datname = $1",
        FOREIGN,
    )
    return {
        "databases": {row[0] for row in databases},
        "roles": {row[0] for row in roles},
        "admin": tuple(admin[0]),
        "member": {row[0] for row in member},
        "foreign": (tuple(foreign[0]), (await world.sql(FOREIGN, "SELECT sum(n) FROM public.kept"))[0][0]),
    }


@pytest.fixture
async def foreign(world: World) -> Any:
    """A database of somebody else on the same PostgreSQL, which the operator may not enter, with an open session."""
    admin = await world.postgres.connect()
    await admin.execute(f"CREATE ROLE {FOREIGN} LOGIN PASSWORD 'crm'")
    await admin.execute(f"CREATE DATABASE {FOREIGN} OWNER {FOREIGN}")
    await admin.execute(f"REVOKE ALL ON DATABASE {FOREIGN} FROM PUBLIC")
    session = await world.postgres.connect(FOREIGN, FOREIGN, "crm")
    await session.execute("CREATE TABLE public.kept AS SELECT generate_series(1, 100) AS n")
    yield session
    await session.close()
    await admin.execute(f"DROP DATABASE {FOREIGN} WITH (FORCE)")
    await admin.execute(f"DROP ROLE {FOREIGN}")
    await admin.close()


async def test_a_whole_life_with_the_documented_rights_beside_a_stranger(
    world: World, foreign: asyncpg.Connection
) -> None:
    script = Script(world).install()
    server, tenant = world.unique("shared"), world.unique("t")
    before = await look(world)
    async with world.operator() as op:
        world.server(server)
        world.tenant(tenant)
        await until(lambda: is_ready(world.et(tenant)), timeout=PATIENCE)
        assert (world.es(server) or {})["spec"]["database"]["mode"] == "External"
        copy = f"{tenant}-copy"
        for mode, more in (("Drill", {}), ("InPlace", {}), ("AsNew", {"asNew": {"tenant": copy}})):
            name = f"{mode.lower()}-{tenant}"
            world.restore(name, tenant, mode, **more)
            await until(lambda name=name: phase(world, name) in DONE, timeout=PATIENCE, what=mode)
            assert phase(world, name) == "Succeeded", mode
        await until(lambda: is_ready(world.et(copy)), timeout=PATIENCE)
        assert await contents(world, server, copy) == NEW
        # Everything of ours is destroyed; the stranger's is not, as on a PostgreSQL where one cluster holds both.
        await empty(world.postgres)
        op.ctx.memory.looked.clear()
        op.ctx.wake("server", server)
        for name in (tenant, copy):
            await until(
                lambda name=name: condition(world.et(name), "DatabaseReady").get("reason") == "DatabaseLost",
                timeout=PATIENCE,
            )
        assert await rebuild(op.engine.client, server, 2, lambda _: None, look=0.2) == 0
        for name in (tenant, copy):
            await until(lambda name=name: is_ready(world.et(name)), timeout=PATIENCE, what="back")
            assert await contents(world, server, name) == NEW
        seen = await look(world)
        assert seen["admin"] == (False, True, True, False, False), "and no superuser at any time"
        expected = {"elink_app", "elink_template", naming.tenant_role(tenant), naming.tenant_role(copy)}
        assert seen["member"] - {"elink_backup"} == expected, "a member of what it made, of nothing else"
        for name in (tenant, copy):
            world.change("ElinkTenant", name, {"spec": {"state": "Cancelled"}})
            world.delete(f"/apis/elink-lc.com/v1/elinktenants/{name}")
        await until(lambda: world.et(tenant) is None and world.et(copy) is None, timeout=PATIENCE, what="erased")
        world.delete(f"/apis/elink-lc.com/v1/elinkservers/{server}")
        await until(lambda: world.es(server) is None, timeout=PATIENCE, what="removed")
    after = await look(world)
    assert after["foreign"] == before["foreign"]
    for kind, left in (("databases", LEFT_DATABASES), ("roles", LEFT_ROLES)):
        others = before[kind] - left  # of tests that used this PostgreSQL before
        assert after[kind] == left | others, kind
    assert await world.sql("elink_registry", "SELECT name FROM tenant") == []
    assert not foreign.is_closed(), "nobody ended the stranger's session"
    assert script.forgotten


async def test_a_right_that_is_missing_is_named(world: World) -> None:
    server = world.unique("shared")
    admin = await world.postgres.connect()
    try:
        for right in ("CREATEDB", "CREATEROLE"):
            await admin.execute(f"ALTER ROLE {world.postgres.admin} NO{right}")
            async with world.operator() as op:
                world.server(server)
                await until(
                    lambda right=right: (
                        f"lacks {right}" in condition(world.es(server), "DatabaseReady").get("message", "")
                    ),
                    timeout=PATIENCE,
                )
                assert condition(world.es(server), "DatabaseReady")["reason"] == "DatabaseForbidden"
                await admin.execute(f"ALTER ROLE {world.postgres.admin} {right}")
                op.ctx.wake("server", server)
                await until(lambda: is_ready(world.es(server)), timeout=PATIENCE, what="given back")
    finally:
        await admin.execute(f"ALTER ROLE {world.postgres.admin} CREATEDB CREATEROLE")
        await admin.close()
