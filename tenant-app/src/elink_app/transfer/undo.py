"""Takes back what a job did to addresses, from the images that it kept: handler of the jobs `import-undo`."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from elink_app.addresses.schemas import AddressInput
from elink_app.audit.service import Actor, record
from elink_app.clock import Clock
from elink_app.jobs.runner import Batch
from elink_app.registry.tenant import Tenant
from elink_app.transfer.bulk import BulkAddresses, Change, Current, Ready, driver_of

BATCH = 500
COUNTS = ("deleted", "restored", "kept")
_NEXT = """
SELECT address_id, before::text AS before, version FROM bulk_change WHERE job_id = $1 AND address_id > $2
ORDER BY address_id LIMIT $3
"""


class UndoHandler:
    """An address that somebody saved since the job stays as they saved it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def forget(self, tenant: Tenant, job_id: int) -> None:
        """Nothing is kept between steps."""

    async def step(self, batch: Batch) -> bool:
        """One batch of addresses, in the order of their ids."""
        job = batch.job
        await batch.db.flush()
        connection = await driver_of(batch.db)
        after = int(job.cursor.get("address", 0))
        rows = await connection.fetch(_NEXT, int(job.parameters["job"]), after, BATCH)
        if not rows:
            await self._finish(batch)
            return True
        writer = BulkAddresses(connection, job.id, self._clock())
        current = await writer.lock(row["address_id"] for row in rows)
        theirs = [row for row in rows if untouched(row, current)]
        made = [row["address_id"] for row in theirs if row["before"] is None]
        changed = [(current[row["address_id"]], orjson.loads(row["before"])) for row in theirs if row["before"]]
        await writer.delete(made)
        await writer.change(await asyncio.to_thread(put_back, changed), remember=False)
        counts = {"deleted": len(made), "restored": len(changed), "kept": len(rows) - len(theirs)}
        job.result = {name: job.result.get(name, 0) + counts[name] for name in COUNTS}
        job.cursor = {"address": rows[-1]["address_id"]}
        job.done += len(rows)
        return False

    async def _finish(self, batch: Batch) -> None:
        job = batch.job
        job.total = job.done
        counts = {name: job.result.get(name, 0) for name in COUNTS}
        job.result = counts
        actor = Actor(job.account_id, job.actor, job.address)
        after = {"job": job.parameters["job"], **counts}
        await record(
            batch.db, actor, "addresses.import_undone", kind="job", key=str(job.id), after=after, now=self._clock()
        )


def untouched(row: Any, current: dict[int, Current]) -> bool:
    """True when nobody saved the address since the job that `row` is of."""
    found = current.get(row["address_id"])
    return found is not None and found.version == row["version"]


def put_back(changed: list[tuple[Current, dict[str, Any]]]) -> list[Change]:
    """The changes that make of addresses what they were."""
    # What was stored is put back as it was, also where rules have become stricter since.
    return [
        Change(current, Ready.of(AddressInput.model_construct(**before), before["attributes"]))
        for current, before in changed
    ]
