"""Imports without pages: a file, a plan, a worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elink_app.audit.service import SYSTEM
from elink_app.clock import utc_now
from elink_app.jobs.runner import JobRunner
from elink_app.jobs.service import Jobs
from elink_app.ops.servers import Stop
from elink_app.registry.tenant import Tenant
from elink_app.transfer.handlers import make_handlers
from elink_app.transfer.plan import Plan
from elink_app.transfer.reader import Reader
from elink_app.transfer.store import FileStore, Shelf
from elink_app.utilities.handlers import utility_handlers

from tests.tenant_app.support import World

COLUMNS = ["name", "kana", "company", "emails", "phone", "postal_code", "postal_address", "notes", "tags"]


@dataclass
class Bench:
    """One tenant and what its worker does."""

    world: World
    tenant: Tenant

    @property
    def store(self) -> FileStore:
        return FileStore(self.world.server.settings.tenants_dir)

    def runner(self) -> JobRunner:
        """A new worker process."""
        return JobRunner(
            self.world.parts.databases,
            {**make_handlers(self.store, utc_now, Reader()), **utility_handlers(utc_now)},
            utc_now,
        )

    def put(self, content: bytes) -> str:
        name = self.store.new(self.tenant, Shelf.IMPORTS)
        self.path(name).write_bytes(content)
        return name

    def path(self, name: str) -> Path:
        return self.store.path(self.tenant, Shelf.IMPORTS, name)

    async def start(self, kind: str, **parameters: Any) -> int:
        async with self.world.parts.databases.transaction(self.tenant) as db:
            return await Jobs(db, utc_now).start(kind, parameters, SYSTEM)

    async def start_import(self, content: bytes, *, kind: str = "import", **plan: Any) -> int:
        made = Plan.model_validate({"columns": COLUMNS, **plan})
        return await self.start(
            kind, file=self.put(content), plan=made.model_dump(mode="json"), rights={"is_master": True}
        )

    async def work(self) -> None:
        while await self.runner().run(self.tenant, Stop()):
            pass

    async def imported(self, content: bytes, *, kind: str = "import", **plan: Any) -> dict[str, Any]:
        """The job's row after all work."""
        number = await self.start_import(content, kind=kind, **plan)
        await self.work()
        return await self.job(number)

    async def job(self, number: int) -> dict[str, Any]:
        row = await self.row("SELECT *, result::text AS result FROM job WHERE id = $1", number)
        import orjson

        return {**row, "result": orjson.loads(row["result"])}

    async def row(self, sql: str, *values: Any) -> dict[str, Any]:
        (found,) = await self.rows(sql, *values)
        return found

    async def rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        async with self.world.server.inside(self.tenant.database) as inside:
            return [dict(row) for row in await inside.fetch(sql, *values)]

    async def addresses(self) -> list[dict[str, Any]]:
        """All live addresses with e-mails and tags, by id."""
        return await self.rows(
            "SELECT a.id, a.version, a.name, a.kana, a.company, a.phone, a.postal_code, a.postal_address, a.notes, "
            "ARRAY(SELECT e.email::text FROM address_email e WHERE e.address_id = a.id ORDER BY position) AS emails, "
            "ARRAY(SELECT t.name::text FROM address_tag b JOIN tag t ON t.id = b.tag_id WHERE b.address_id = a.id "
            "ORDER BY t.name) AS tags FROM address a WHERE deleted_at IS NULL ORDER BY a.id"
        )


async def make_bench(world: World, **changes: Any) -> Bench:
    made = await world.tenant(**changes)
    tenant = world.parts.directory.get(made.name)
    assert tenant is not None
    return Bench(world, tenant)


def table(*rows: list[str], encoding: str = "utf-8", heading: list[str] | None = None) -> bytes:
    """A CSV file with every cell in quotes."""
    lines = [heading or COLUMNS, *rows]
    quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in lines]
    return "\r\n".join(quoted).encode(encoding) + b"\r\n"


def person(name: str, email: str = "", **more: str) -> list[str]:
    """A row of `table`."""
    return [{"name": name, "emails": email, **more}.get(column, "") for column in COLUMNS]
