"""Takes back what a program did, for the jobs `utility-undo`.

Consents are kept by e-mail and are not touched: one that was withdrawn meanwhile stays withdrawn. A suppression that
somebody lifted meanwhile stays lifted, and one that others added stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from elink_app.audit.service import Actor, record
from elink_app.clock import Clock
from elink_app.jobs.runner import Batch
from elink_app.transfer.rights import asked_by, plan_usage
from elink_app.transfer.undo import BATCH, Changed, Others, put_back, untouched, usable_images
from elink_app.utilities.repository import UtilityRepository

_WHY = "utility program undone"
_BRING_BACK = """
UPDATE address a SET deleted_at = NULL FROM (
    SELECT a.id FROM address a JOIN unnest($1::bigint[], $2::bigint[], $3::timestamptz[]) AS seen (id, version, at)
        ON seen.id = a.id AND seen.version = a.version AND seen.at = a.deleted_at
    WHERE NOT a.tag_ids && $4::bigint[] ORDER BY a.id LIMIT $5 FOR UPDATE OF a
) AS back WHERE a.id = back.id RETURNING a.id
"""


class UtilityUndo:
    """Addresses become what they were, deleted ones come back, suppressions of the program are lifted."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def addresses(self, batch: Batch, changed: Changed) -> Mapping[str, int]:
        """Bring back what was deleted, put back what was changed."""
        rows, writer = changed.rows, changed.writer
        back = await self._bring_back(batch, changed)
        current = await writer.lock(row["address_id"] for row in rows)
        images = usable_images(
            changed,
            [
                row
                for row in rows
                if row["before"] is not None
                and untouched(row, current)
                # Deleted again, or never brought back, is not there.
                and (row["deleted_at"] is None or row["address_id"] in back)
            ],
            current,
        )
        await writer.change(await asyncio.to_thread(put_back, images), remember=False)
        restored = back | {one.id for one, _ in images}
        return {"restored": len(restored), "kept": len(rows) - len(restored)}

    async def others(self, batch: Batch, after: int) -> Others | None:
        """The suppressions that the program added."""
        job = batch.job
        runs = UtilityRepository(batch.db, asked_by(job))
        ids = await runs.suppressions(int(job.parameters["job"]), after, BATCH)
        if not ids:
            return None
        lifted = await runs.lift(ids, job.actor, _WHY, self._clock())
        return Others(ids[-1], len(ids), {"lifted": lifted, "kept": len(ids) - lifted})

    async def finish(self, batch: Batch) -> None:
        """The run's own record, and a line in the audit log."""
        job = batch.job
        now = self._clock()
        run = await UtilityRepository(batch.db, asked_by(job)).get(int(job.parameters["run"]))
        if run is not None:
            run.undone_at, run.undo_result = now, dict(job.result)
        actor = Actor(job.account_id, job.actor, job.address)
        after: dict[str, Any] = {"job": job.parameters["job"], **job.result}
        key = str(job.parameters["run"])
        await record(batch.db, actor, "utility.undone", kind="utility", key=key, after=after, now=now)

    async def _bring_back(self, batch: Batch, changed: Changed) -> set[int]:
        gone = [row for row in changed.rows if row["deleted_at"] is not None]
        if not gone:
            return set()
        limit = batch.tenant.limits.addresses
        room = len(gone) if limit is None else max(0, limit - await plan_usage(batch.db, lock=True))
        columns = [[row[name] for row in gone] for name in ("address_id", "version", "deleted_at")]
        hidden = list(changed.hidden)
        return {row["id"] for row in await changed.connection.fetch(_BRING_BACK, *columns, hidden, room)}
