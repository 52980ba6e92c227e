"""Takes back what a program did: handler of the jobs `utility-undo`.

An address that somebody saved or deleted since stays as it is. Consents are kept by e-mail and are not touched: one
that was withdrawn meanwhile stays withdrawn. A suppression that somebody lifted meanwhile stays lifted, and one that
others added stays.
"""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import orjson

from elink_app.audit.service import Actor, record
from elink_app.clock import Clock
from elink_app.jobs.runner import Batch
from elink_app.registry.tenant import Tenant
from elink_app.text import search_form
from elink_app.transfer.bulk import BulkAddresses, driver_of
from elink_app.transfer.rights import asked_by, hidden_labels, plan_usage
from elink_app.transfer.undo import put_back, untouched
from elink_app.utilities.repository import UtilityRepository

BATCH = 500
_WHY = "utility program undone"
_NEXT = """
SELECT address_id, before::text AS before, version, deleted_at FROM bulk_change
WHERE job_id = $1 AND address_id > $2 ORDER BY address_id LIMIT $3
"""
_BRING_BACK = """
UPDATE address a SET deleted_at = NULL FROM (
    SELECT a.id FROM address a JOIN unnest($1::bigint[], $2::bigint[], $3::timestamptz[]) AS seen (id, version, at)
        ON seen.id = a.id AND seen.version = a.version AND seen.at = a.deleted_at
    WHERE NOT a.tag_ids && $4::bigint[] ORDER BY a.id LIMIT $5 FOR UPDATE OF a
) AS back WHERE a.id = back.id RETURNING a.id
"""


class UtilityUndoHandler:
    """Addresses in the order of their ids, then suppressions in the order of theirs."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def forget(self, tenant: Tenant, job_id: int) -> None:
        """Nothing is kept between steps."""

    async def step(self, batch: Batch) -> bool:
        """One batch."""
        job = batch.job
        await batch.db.flush()
        connection = await driver_of(batch.db)
        done = int(job.parameters["job"])
        rows = await connection.fetch(_NEXT, done, int(job.cursor.get("address", 0)), BATCH)
        if rows:
            counts = await self._addresses(batch, connection, rows)
            job.cursor = {"address": rows[-1]["address_id"]}
            job.done += len(rows)
        else:
            runs = UtilityRepository(batch.db, asked_by(job))
            ids = await runs.suppressions(done, int(job.cursor.get("suppression", 0)), BATCH)
            if not ids:
                await self._finish(batch, runs)
                return True
            lifted = await runs.lift(ids, job.actor, _WHY, self._clock())
            counts = {"lifted": lifted, "kept": len(ids) - lifted}
            job.cursor = {**job.cursor, "suppression": ids[-1]}
            job.done += len(ids)
        job.result = {**job.result, **{name: job.result.get(name, 0) + count for name, count in counts.items()}}
        return False

    async def _addresses(
        self, batch: Batch, connection: asyncpg.Connection[asyncpg.Record], rows: list[asyncpg.Record]
    ) -> dict[str, int]:
        hidden = await hidden_labels(batch.db, asked_by(batch.job))
        reserved = frozenset(hidden.values())
        back = await self._bring_back(batch, connection, rows, list(hidden))
        writer = BulkAddresses(connection, batch.job.id, self._clock(), list(hidden))
        current = await writer.lock(row["address_id"] for row in rows)
        images = [
            (current[row["address_id"]], orjson.loads(row["before"]))
            for row in rows
            if row["before"] is not None
            and untouched(row, current)
            # Deleted again, or never brought back, is not there.
            and (row["deleted_at"] is None or row["address_id"] in back)
        ]
        images = [(one, image) for one, image in images if not _names(image, reserved)]
        await writer.change(await asyncio.to_thread(put_back, images), remember=False)
        restored = back | {one.id for one, _ in images}
        return {"restored": len(restored), "kept": len(rows) - len(restored)}

    async def _bring_back(
        self,
        batch: Batch,
        connection: asyncpg.Connection[asyncpg.Record],
        rows: list[asyncpg.Record],
        hidden: list[int],
    ) -> set[int]:
        gone = [row for row in rows if row["deleted_at"] is not None]
        if not gone:
            return set()
        limit = batch.tenant.limits.addresses
        room = len(gone) if limit is None else max(0, limit - await plan_usage(batch.db, lock=True))
        columns = [[row[name] for row in gone] for name in ("address_id", "version", "deleted_at")]
        return {row["id"] for row in await connection.fetch(_BRING_BACK, *columns, hidden, room)}

    async def _finish(self, batch: Batch, runs: UtilityRepository) -> None:
        job = batch.job
        job.total = job.done
        now = self._clock()
        run = await runs.get(int(job.parameters["run"]))
        if run is not None:
            run.undone_at, run.undo_result = now, dict(job.result)
        actor = Actor(job.account_id, job.actor, job.address)
        after: dict[str, Any] = {"job": job.parameters["job"], **job.result}
        key = str(job.parameters["run"])
        await record(batch.db, actor, "utility.undone", kind="utility", key=key, after=after, now=now)


def _names(image: dict[str, Any], reserved: frozenset[str]) -> bool:
    """True when the image bears a label that meanwhile does not exist for the account."""
    return any(search_form(tag) in reserved for tag in image["tags"])
