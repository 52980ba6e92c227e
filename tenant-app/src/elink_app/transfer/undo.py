"""Takes back what a job did, from the images that it kept: the frame, and the handler of the jobs `import-undo`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import asyncpg
import orjson

from elink_app.addresses.schemas import AddressInput
from elink_app.audit.service import Actor, record
from elink_app.clock import Clock
from elink_app.consent.service import retract_consents
from elink_app.database.driver import driver_of
from elink_app.jobs.runner import Batch
from elink_app.registry.tenant import Tenant
from elink_app.text import search_form
from elink_app.transfer.bulk import BulkAddresses, Change, Current, Ready
from elink_app.transfer.rights import asked_by, hidden_labels

BATCH = 500
_NEXT = """
SELECT address_id, before::text AS before, version, deleted_at FROM bulk_change
WHERE job_id = $1 AND address_id > $2 ORDER BY address_id LIMIT $3
"""


@dataclass(frozen=True)
class Changed:
    """One batch of addresses that a job changed, locked, as the account that undoes it may see them."""

    rows: Sequence[asyncpg.Record]
    writer: BulkAddresses
    connection: asyncpg.Connection[asyncpg.Record]
    # Ids and keys of labels that do not exist for the account.
    hidden: Mapping[int, str]


@dataclass(frozen=True)
class Others:
    """One batch of what is not an address: the last of them, how many were looked at, what became of them."""

    last: int
    seen: int
    counts: Mapping[str, int]


class Undoing(Protocol):
    """What one kind of job needs to be taken back."""

    async def addresses(self, batch: Batch, changed: Changed) -> Mapping[str, int]:
        """Put addresses back; counts for people."""
        ...

    async def others(self, batch: Batch, after: int) -> Others | None:
        """The next after `after` of what is kept by e-mail; None when there is no more."""
        ...

    async def finish(self, batch: Batch) -> None:
        """Everything is taken back."""
        ...


class UndoHandler:
    """Addresses in the order of their ids, then the rest in the order of theirs.

    An address that somebody saved or deleted since the job stays as they left it.
    """

    def __init__(self, kind: Undoing, clock: Clock) -> None:
        self._kind = kind
        self._clock = clock

    def forget(self, tenant: Tenant, job_id: int) -> None:
        """Nothing is kept between steps."""

    async def step(self, batch: Batch) -> bool:
        """One batch."""
        job = batch.job
        await batch.db.flush()
        connection = await driver_of(batch.db)
        after = int(job.cursor.get("address", 0))
        rows = await connection.fetch(_NEXT, int(job.parameters["job"]), after, BATCH)
        if rows:
            hidden = await hidden_labels(batch.db, asked_by(job))
            writer = BulkAddresses(connection, job.id, self._clock(), list(hidden))
            counts = await self._kind.addresses(batch, Changed(rows, writer, connection, hidden))
            job.cursor = {**job.cursor, "address": rows[-1]["address_id"]}
            job.done += len(rows)
        else:
            found = await self._kind.others(batch, int(job.cursor.get("other", 0)))
            if found is None:
                job.total = job.done
                await self._kind.finish(batch)
                return True
            counts = found.counts
            job.cursor = {**job.cursor, "other": found.last}
            job.done += found.seen
        job.result = {**job.result, **{name: job.result.get(name, 0) + count for name, count in counts.items()}}
        return False


class ImportUndo:
    """Addresses that the import made go, those that it changed become what they were, its consents are taken back."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def addresses(self, batch: Batch, changed: Changed) -> Mapping[str, int]:
        """Delete what was made, put back what was changed."""
        rows, writer = changed.rows, changed.writer
        current = await writer.lock(row["address_id"] for row in rows)
        theirs = [row for row in rows if untouched(row, current)]
        made = [row["address_id"] for row in theirs if row["before"] is None]
        images = usable_images(changed, [row for row in theirs if row["before"] is not None], current)
        await writer.delete(made)
        await writer.change(await asyncio.to_thread(put_back, images), remember=False)
        return {"deleted": len(made), "restored": len(images), "kept": len(rows) - len(made) - len(images)}

    async def others(self, batch: Batch, after: int) -> Others | None:
        """The consents that the import recorded."""
        job = batch.job
        found = await retract_consents(
            batch.db, asked_by(job), int(job.parameters["job"]), after, BATCH, job.actor, self._clock()
        )
        if found is None:
            return None
        return Others(found.last, 0, {"retracted": found.count, "kept": found.kept})

    async def finish(self, batch: Batch) -> None:
        """A line in the audit log."""
        job = batch.job
        job.result = {**dict.fromkeys(("deleted", "restored", "kept"), 0), **job.result}
        actor = Actor(job.account_id, job.actor, job.address)
        after = {"job": job.parameters["job"], **job.result}
        await record(
            batch.db, actor, "addresses.import_undone", kind="job", key=str(job.id), after=after, now=self._clock()
        )


def usable_images(
    changed: Changed, rows: Sequence[asyncpg.Record], current: Mapping[int, Current]
) -> list[tuple[Current, dict[str, Any]]]:
    """What addresses were, without those that then bore a label which meanwhile does not exist for the account."""
    reserved = frozenset(changed.hidden.values())
    images = [(current[row["address_id"]], orjson.loads(row["before"])) for row in rows]
    return [(one, image) for one, image in images if reserved.isdisjoint(map(search_form, image["tags"]))]


def untouched(row: Any, current: Mapping[int, Current]) -> bool:
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
