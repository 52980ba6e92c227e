"""The import itself, and its rehearsal: handlers of the jobs `import` and `import-check`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.addresses.schemas import AddressInput
from elink_app.attributes.service import definitions
from elink_app.audit.service import Actor, record
from elink_app.clock import Clock
from elink_app.consent.service import suppressed_among
from elink_app.database.driver import driver_of
from elink_app.jobs.runner import Batch, JobFailed
from elink_app.messages import N_, Message
from elink_app.registry.tenant import Tenant
from elink_app.transfer.bulk import BulkAddresses, Change, Current, Ready
from elink_app.transfer.columns import Reason
from elink_app.transfer.consents import add_consents
from elink_app.transfer.merge import merge
from elink_app.transfer.plan import Existing, Plan
from elink_app.transfer.reader import Reader
from elink_app.transfer.rights import asked_by, hidden_labels, plan_usage
from elink_app.transfer.rows import Row
from elink_app.transfer.source import RowSource
from elink_app.transfer.store import FileStore, Shelf
from elink_app.transfer.tables import BadTable

BATCH = 1000
COUNTS = ("new", "changed", "unchanged", "skipped", "bad")
CONSENTS = "consents"
# Of these addresses that many get no mail; an import never changes that.
SUPPRESSED = "suppressed"
# A rehearsal keeps that many refused rows to be looked at; the import itself keeps all.
_SHOWN_BAD = 200
_GONE = Message(N_("The uploaded file is no longer there. Upload it again."))
_BAD_ROWS = """
INSERT INTO import_bad_row (job_id, number, cells, reasons) VALUES ($1, $2, $3, $4)
ON CONFLICT (job_id, number) DO NOTHING
"""


@dataclass
class _Open:
    """What is kept in memory between the steps of one job."""

    source: RowSource
    # Keys of own fields that a new address must have.
    required: frozenset[str]
    at: int = 0
    # The e-mails that a rehearsal has seen in the file, as hashes.
    seen: set[int] = field(default_factory=set)


@dataclass
class _Outcome:
    """What became of the rows of one batch."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    bad: list[tuple[Row, Sequence[Reason]]] = field(default_factory=list)
    # Numbers of rows that were left out.
    skipped: set[int] = field(default_factory=set)

    def refuse(self, row: Row, reasons: Sequence[Reason]) -> None:
        self.counts["bad"] += 1
        self.bad.append((row, reasons))


def waves(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows in their order, divided so that no e-mail stands in one part twice.

    A row that has an e-mail of a row before it then finds the address that was made from that.
    """
    parts: list[list[Row]] = [[]]
    seen: set[str] = set()
    for row in rows:
        if not seen.isdisjoint(row.email_keys):
            parts.append([])
            seen = set()
        seen.update(row.email_keys)
        parts[-1].append(row)
    return parts


class _Steps:
    """What the import and its rehearsal share: the file and the cursor."""

    def __init__(self, store: FileStore, reader: Reader, clock: Clock) -> None:
        self._store = store
        self._reader = reader
        self._clock = clock
        self._open: dict[tuple[str, int], _Open] = {}

    def forget(self, tenant: Tenant, job_id: int) -> None:
        """Let go of the file."""
        kept = self._open.pop((tenant.name, job_id), None)
        if kept is not None:
            kept.source.close()

    async def _opened(self, batch: Batch, plan: Plan) -> _Open:
        key = (batch.tenant.name, batch.job.id)
        if key not in self._open:
            path = self._store.path(batch.tenant, Shelf.IMPORTS, batch.job.parameters["file"])
            fields = await definitions(batch.db)
            # What is required is asked of new addresses only: a row may change one field of an old one.
            optional = [one.model_copy(update={"required": False}) for one in fields]
            required = frozenset(one.key for one in fields if one.required)
            self._open[key] = _Open(RowSource(self._reader, path, plan, BATCH, optional), required)
        return self._open[key]

    async def _writer(self, batch: Batch) -> tuple[BulkAddresses, frozenset[str]]:
        """For the rows of this job; and the keys of tags that the account may not use."""
        forbidden = await hidden_labels(batch.db, asked_by(batch.job))
        connection = await driver_of(batch.db)
        writer = BulkAddresses(connection, batch.job.id, self._clock(), list(forbidden))
        await writer.prepare()
        return writer, frozenset(forbidden.values())

    async def _take(self, source: RowSource, after: int) -> list[Row]:
        try:
            return await source.take(after)
        except BadTable as error:
            raise JobFailed(error.message) from error
        except FileNotFoundError as error:
            raise JobFailed(_GONE) from error

    async def _advance(self, batch: Batch, outcome: _Outcome, after: int, *, keep_bad: int | None) -> None:
        """Counts, refused rows and cursor, in the transaction of the batch."""
        job = batch.job
        before = {name: job.result.get(name, 0) for name in outcome.counts}
        bad = outcome.bad if keep_bad is None else outcome.bad[: max(0, keep_bad - before["bad"])]
        if bad:
            connection = await driver_of(batch.db)
            await connection.executemany(
                _BAD_ROWS,
                [
                    # PostgreSQL's text holds everything but NUL.
                    (job.id, row.number, [cell.replace("\0", "") for cell in row.cells], orjson.dumps(why).decode())
                    for row, why in bad
                ],
            )
        job.result = {**job.result, **{name: before[name] + count for name, count in outcome.counts.items()}}
        job.cursor = {"row": after}
        job.done = after


class ImportHandler(_Steps):
    """Takes rows into the address book. The cursor moves in the transaction that writes the rows."""

    async def step(self, batch: Batch) -> bool:
        """One batch."""
        plan = Plan.model_validate(batch.job.parameters["plan"])
        after = int(batch.job.cursor.get("row", 0))
        kept = await self._opened(batch, plan)
        rows = await self._take(kept.source, after)
        if not rows:
            await self._finish(batch)
            return True
        await batch.db.flush()
        outcome = _Outcome()
        writer, reserved = await self._writer(batch)
        rows = [_checked(row, reserved) for row in rows]
        for part in waves(rows) if plan.existing is not Existing.ADD else [rows]:
            await self._write(batch, writer, plan.existing, part, kept.required, outcome)
        refused = {row.number for row, _ in outcome.bad}
        said = [
            row.emails[0]
            for row in rows
            if row.consents and row.email_keys and row.number not in refused | outcome.skipped
        ]
        if said:
            added = await add_consents(batch.db, asked_by(batch.job), plan, said, batch.job, self._clock)
            outcome.counts[CONSENTS] = added
        await self._advance(batch, outcome, rows[-1].number, keep_bad=None)
        return False

    async def _write(
        self,
        batch: Batch,
        writer: BulkAddresses,
        existing: Existing,
        rows: Sequence[Row],
        required: frozenset[str],
        outcome: _Outcome,
    ) -> None:
        new: list[Row] = []
        changes: list[Change] = []
        known = await _known(writer, existing, rows)
        current = await writer.lock(known.values()) if existing is Existing.UPDATE else {}
        pairs: list[tuple[Row, Current]] = []
        # A second row for an address (by another of its e-mails) builds on what the first one made of it.
        later: list[Row] = []
        taken: set[int] = set()
        for row in rows:
            if row.reasons:
                outcome.refuse(row, row.reasons)
                continue
            match = known.get(row.number)
            if match is not None and existing is Existing.SKIP:
                outcome.counts["skipped"] += 1
                outcome.skipped.add(row.number)
            elif match is not None and match in current:
                if match in taken:
                    later.append(row)
                else:
                    taken.add(match)
                    pairs.append((row, current[match]))
            elif missing := required - row.attributes.keys():
                outcome.refuse(row, [(key, "required", {}) for key in sorted(missing)])
            else:
                new.append(row)
        for row, merged in await asyncio.to_thread(_merge_all, pairs):
            if isinstance(merged, list):
                outcome.refuse(row, merged)
            elif merged is None:
                outcome.counts["unchanged"] += 1
            else:
                changes.append(merged)
        room = await _room(batch.db, batch.tenant) if new else None
        for row in new[room:] if room is not None else []:
            outcome.refuse(row, [("", "limit", {})])
        added = new[:room]
        await writer.insert(added)
        await writer.change(changes)
        outcome.counts["new"] += len(added)
        outcome.counts["changed"] += len(changes)
        if later:
            await self._write(batch, writer, existing, later, required, outcome)

    async def _finish(self, batch: Batch) -> None:
        job = batch.job
        job.total = job.done
        counts = {name: job.result.get(name, 0) for name in COUNTS}
        counts |= {CONSENTS: job.result[CONSENTS]} if CONSENTS in job.result else {}
        job.result = {**job.result, **counts}
        actor = Actor(job.account_id, job.actor, job.address)
        await record(
            batch.db, actor, "addresses.imported", kind="job", key=str(job.id), after=counts, now=self._clock()
        )


class CheckHandler(_Steps):
    """Says what an import would do, and changes nothing."""

    async def step(self, batch: Batch) -> bool:
        """One batch. After a crash it begins again: what it had seen of the file was in memory only."""
        plan = Plan.model_validate(batch.job.parameters["plan"])
        kept = await self._opened(batch, plan)
        after = int(batch.job.cursor.get("row", 0))
        if kept.at != after:
            after, kept.at = 0, 0
            kept.seen.clear()
            batch.job.result = {}
        rows = await self._take(kept.source, after)
        if not rows:
            await self._finish(batch)
            return True
        await batch.db.flush()
        outcome = await self._look(batch, plan.existing, kept, rows)
        await self._advance(batch, outcome, rows[-1].number, keep_bad=_SHOWN_BAD)
        kept.at = rows[-1].number
        return False

    async def _look(self, batch: Batch, existing: Existing, kept: _Open, rows: Sequence[Row]) -> _Outcome:
        outcome = _Outcome()
        writer, reserved = await self._writer(batch)
        rows = [_checked(row, reserved) for row in rows]
        known = await _known(writer, existing, rows)
        current = await writer.lock(known.values()) if existing is Existing.UPDATE else {}
        pairs: list[tuple[Row, Current]] = []
        for row in rows:
            if row.reasons:
                outcome.refuse(row, row.reasons)
                continue
            keys = [hash(key) for key in row.email_keys]
            match = known.get(row.number)
            if existing is not Existing.ADD and (match is not None or (keys and keys[0] in kept.seen)):
                if existing is Existing.SKIP:
                    outcome.counts["skipped"] += 1
                elif match is not None and match in current:
                    pairs.append((row, current[match]))
                else:
                    outcome.counts["changed"] += 1
            elif missing := kept.required - row.attributes.keys():
                outcome.refuse(row, [(key, "required", {}) for key in sorted(missing)])
            else:
                outcome.counts["new"] += 1
            kept.seen.update(keys)
        first = {row.email_keys[0] for row in rows if row.email_keys}
        outcome.counts[SUPPRESSED] = len(await suppressed_among(batch.db, sorted(first)))
        for row, merged in await asyncio.to_thread(_merge_all, pairs):
            if isinstance(merged, list):
                outcome.refuse(row, merged)
            else:
                outcome.counts["unchanged" if merged is None else "changed"] += 1
        return outcome

    async def _finish(self, batch: Batch) -> None:
        job = batch.job
        job.total = job.done
        counts = {name: job.result.get(name, 0) for name in COUNTS}
        limit = batch.tenant.limits.addresses
        room = max(0, limit - await plan_usage(batch.db)) if limit is not None else counts["new"]
        job.result = {**job.result, **counts, "over_limit": max(0, counts["new"] - room)}


def _checked(row: Row, reserved: frozenset[str]) -> Row:
    """The row; refused when it bears the name of a label that does not exist for the account."""
    return row if reserved.isdisjoint(row.tag_keys) else row.refused([("tags", "tag_reserved", {})])


async def _known(writer: BulkAddresses, existing: Existing, rows: Sequence[Row]) -> dict[int, int]:
    """By number of the row: the address that has the row's first e-mail."""
    if existing is Existing.ADD:
        return {}
    first = {row.number: row.email_keys[0] for row in rows if row.email_keys}
    matches = await writer.matches(first.values())
    return {number: matches[key] for number, key in first.items() if key in matches}


async def _room(db: AsyncSession, tenant: Tenant) -> int | None:
    """How many addresses can be added; held until the end of the transaction. None = no limit."""
    used = await plan_usage(db, lock=True)
    limit = tenant.limits.addresses
    return None if limit is None else max(0, limit - used)


def _merge_all(pairs: Sequence[tuple[Row, Current]]) -> list[tuple[Row, Change | list[Any] | None]]:
    outcome: list[tuple[Row, Change | list[Any] | None]] = []
    for row, current in pairs:
        merged = merge(current.values, row.filled)
        changed = Change(current, Ready.of(merged, merged.attributes)) if isinstance(merged, AddressInput) else merged
        outcome.append((row, changed))
    return outcome
