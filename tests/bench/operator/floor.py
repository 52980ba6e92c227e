"""The floor: a plain client that writes the same final objects and runs the same SQL as the operator, and nothing else.

The objects are copies of what the operator made for one tenant, with the name replaced. Nothing is watched, compared,
retried or reported. It runs after the operator, in a PostgreSQL that holds the operator's databases too, and without
the four spare databases that the operator begins with: both favour the operator a little.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson
from elink_operator.database.sql import scram_verifier

from tests.bench.operator.api import Api, Obj

IN_FLIGHT = 32
DATABASE_CONNECTIONS = 4
_DROPPED = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink")


@dataclass(frozen=True)
class Template:
    """What one tenant of the operator's consists of: (path, object) of each owned object, its resource and status."""

    name: str
    tenant: Obj
    objects: list[tuple[str, Obj]]

    def copy(self, name: str) -> Template:
        """The same for another tenant."""

        def renamed(value: Any) -> Any:
            text = orjson.dumps(value).decode().replace(self.name, name)
            return orjson.loads(text.replace(self.name.replace("-", "_"), name.replace("-", "_")))

        return Template(name, renamed(self.tenant), [(p.replace(self.name, name), renamed(o)) for p, o in self.objects])


def clean(obj: Obj) -> Obj:
    """An object as a client would send it: without what the server adds."""
    metadata = {k: v for k, v in obj["metadata"].items() if k not in _DROPPED}
    if obj["kind"] == "HTTPRoute":
        obj = {k: v for k, v in obj.items() if k != "status"}
    return {**obj, "metadata": metadata}


async def run(api: Api, postgres: dict[str, Any], template: Template, names: list[str]) -> float:
    """Make all `names`, `IN_FLIGHT` at a time; returns the seconds until the last one is written."""
    admin = await asyncpg.create_pool(
        database="postgres", min_size=DATABASE_CONNECTIONS, max_size=DATABASE_CONNECTIONS, **postgres
    )
    registry = await asyncpg.create_pool(database="elink_registry", min_size=1, max_size=2, **postgres)
    gate = asyncio.Semaphore(IN_FLIGHT)
    inside = asyncio.Semaphore(DATABASE_CONNECTIONS)

    async def one(name: str) -> None:
        async with gate:
            await _tenant(api, admin, registry, inside, postgres, template.copy(name))

    started = time.monotonic()
    await asyncio.gather(*(one(name) for name in names))
    seconds = time.monotonic() - started
    await admin.close()
    await registry.close()
    return seconds


async def _tenant(
    api: Api,
    admin: asyncpg.Pool,
    registry: asyncpg.Pool,
    inside: asyncio.Semaphore,
    postgres: dict[str, Any],
    wanted: Template,
) -> None:
    path = "/apis/elink-lc.com/v1/elinktenants"
    tenant = clean(wanted.tenant)
    status = tenant.pop("status")
    finalizers = tenant["metadata"].pop("finalizers")
    await api.call("POST", path, tenant)
    await api.call(
        "PATCH",
        f"{path}/{wanted.name}",
        {"metadata": {"finalizers": finalizers}},
        "application/merge-patch+json",
    )
    await asyncio.gather(
        _database(admin, registry, inside, postgres, wanted.name),
        *(api.apply(where, obj, "bench-floor") for where, obj in wanted.objects),
    )
    await api.call("PATCH", f"{path}/{wanted.name}/status", {"status": status}, "application/merge-patch+json")


async def _database(
    admin: asyncpg.Pool, registry: asyncpg.Pool, inside: asyncio.Semaphore, postgres: dict[str, Any], name: str
) -> None:
    """What `elink_operator.database.tenant` sends, in the same messages, without questions, locks, resumption."""
    database = "t_" + name.replace("-", "_")
    async with admin.acquire() as connection:
        verifier = scram_verifier("password", b"0123456789abcdef")
        await connection.execute(
            f"CREATE ROLE \"{database}\" LOGIN CONNECTION LIMIT 10 PASSWORD '{verifier}';"
            f"COMMENT ON ROLE \"{database}\" IS 'floor';"
            f'GRANT "{database}" TO elink_operator;GRANT "{database}" TO elink_app'
        )
        await connection.execute(f'CREATE DATABASE "making_{database}" TEMPLATE elink_template STRATEGY WAL_LOG')
        await connection.execute(f"COMMENT ON DATABASE \"making_{database}\" IS 'floor'")
        async with inside:
            own = await asyncpg.connect(database=f"making_{database}", **postgres)
            await own.execute(
                f'ALTER SCHEMA public OWNER TO "{database}"; REASSIGN OWNED BY elink_template TO "{database}"'
            )
            await own.close()
        await connection.execute(
            f'ALTER DATABASE "making_{database}" OWNER TO "{database}";'
            f'REVOKE ALL ON DATABASE "making_{database}" FROM PUBLIC;'
            f'GRANT CONNECT ON DATABASE "making_{database}" TO elink_app;'
            f'ALTER DATABASE "making_{database}" RENAME TO "{database}"'
        )
    async with registry.acquire() as connection:
        await connection.execute(
            "INSERT INTO tenant (name, uid, host, database, role, directory, state, display_name, language, limits,"
            " master_email, spec_hash) VALUES ($1, 'floor', $1, $2, $2, $1, 'Active', $1, 'ja', '{}', 'a@b', '')",
            name,
            database,
        )
