"""Runs programs: handlers of the jobs `utility` and `utility-undo`. The cursor moves in the transaction of the work."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from elink_app.accounts.permissions import Principal
from elink_app.addresses.schemas import AddressInput
from elink_app.audit.service import Actor, record
from elink_app.clock import Clock
from elink_app.database.driver import driver_of
from elink_app.duplicates.models import Merge
from elink_app.duplicates.repository import DuplicateRepository
from elink_app.emails import email_key
from elink_app.jobs.runner import Batch, JobFailed, JobHandler
from elink_app.messages import N_, Message
from elink_app.registry.tenant import Tenant
from elink_app.transfer.bulk import BulkAddresses, Change, Current, Ready
from elink_app.transfer.rights import asked_by, hidden_labels
from elink_app.transfer.undo import UndoHandler
from elink_app.utilities.models import UtilityRun
from elink_app.utilities.programs import changed, united
from elink_app.utilities.repository import UtilityRepository
from elink_app.utilities.schemas import (
    DeleteProgram,
    EditProgram,
    MergeProgram,
    Program,
    RetagProgram,
    SuppressProgram,
)
from elink_app.utilities.service import parsed
from elink_app.utilities.target import Wanted, wanted
from elink_app.utilities.undo import UtilityUndo

BATCH = 500
# A group takes several statements.
GROUPS = 20
_ROUNDS = 10
_GONE = Message(N_("What was to be done is no longer known. Try the program anew."))


class UtilityHandler:
    """One program over its addresses in the order of their ids, groups in the order of their keys."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def forget(self, tenant: Tenant, job_id: int) -> None:
        """Nothing is kept between steps."""

    async def step(self, batch: Batch) -> bool:
        """One batch."""
        job = batch.job
        await batch.db.flush()
        principal = asked_by(job)
        rows = UtilityRepository(batch.db, principal)
        run = await rows.get(int(job.parameters["run"]))
        if run is None:
            raise JobFailed(_GONE)
        program, tree = parsed(run)
        room = min(BATCH, int(job.parameters["most"]) - job.done)
        if isinstance(program, SuppressProgram) and program.emails:
            over, done = await self._list(batch, rows, program)
        else:
            found = await wanted(batch.db, principal, program, tree)
            writer = await self._writer(batch, principal)
            if isinstance(program, MergeProgram):
                over, done = await self._groups(batch, writer, principal, program, found, min(room, GROUPS))
            else:
                over, done = await self._addresses(batch, rows, writer, program, found, room)
        _add(batch, done)
        run.result = dict(job.result)
        if over:
            await self._finish(batch, run)
        return over

    async def _writer(self, batch: Batch, principal: Principal) -> BulkAddresses:
        hidden = await hidden_labels(batch.db, principal)
        return BulkAddresses(await driver_of(batch.db), batch.job.id, self._clock(), list(hidden))

    async def _addresses(
        self,
        batch: Batch,
        rows: UtilityRepository,
        writer: BulkAddresses,
        program: Program,
        found: Wanted,
        room: int,
    ) -> tuple[bool, dict[str, int]]:
        job = batch.job
        ids = await rows.hold(found.condition, int(job.cursor.get("address", 0)), room) if room > 0 else []
        if not ids:
            return True, {}
        job.cursor = {"address": ids[-1]}
        job.done += len(ids)
        if isinstance(program, SuppressProgram):
            keys = await rows.emails_of(ids)
            count = await rows.suppress(job.id, keys, program.detail, job.actor, self._clock())
            return False, {"blocked": count}
        current = list((await writer.lock(ids)).values())
        if isinstance(program, DeleteProgram):
            await writer.delete_remembered(current)
            return False, {"removed": len(current)}
        assert isinstance(program, EditProgram | RetagProgram)  # noqa: S101 - the others went before
        changes, refused = await asyncio.to_thread(_changes, program, found.value, current)
        await writer.change(changes)
        same = len(ids) - len(changes) - refused
        return False, {"changed": len(changes), "unchanged": same, "refused": refused}

    async def _groups(
        self,
        batch: Batch,
        writer: BulkAddresses,
        principal: Principal,
        program: MergeProgram,
        found: Wanted,
        room: int,
    ) -> tuple[bool, dict[str, int]]:
        job = batch.job
        groups = DuplicateRepository(batch.db, principal, found.audience)
        after = str(job.cursor.get("key", ""))
        keys = await groups.keys(program.likeness, after, room) if room > 0 else []
        if not keys:
            return True, {}
        counts = {"changed": 0, "merged": 0, "apart": 0}
        for key in keys:
            # A group is read a few addresses at a time.
            for _ in range(_ROUNDS):
                held = await writer.lock(row.id for row in await groups.group(program.likeness, key))
                # Read again: while others held them they may have become different.
                alike = [held[row.id] for row in await groups.group(program.likeness, key) if row.id in held]
                if len(alike) < 2:
                    break
                made = await asyncio.to_thread(_united, alike)
                if made is None:
                    counts["apart"] += 1
                    break
                # Deleted first: what is written then is never there twice.
                await writer.delete_remembered(alike[1:])
                await writer.change([made])
                await groups.add(_note(alike, writer.now))
                counts["changed"] += 1
                counts["merged"] += len(alike) - 1
        job.cursor = {"key": keys[-1]}
        job.done += len(keys)
        return False, counts

    async def _list(
        self, batch: Batch, rows: UtilityRepository, program: SuppressProgram
    ) -> tuple[bool, dict[str, int]]:
        job = batch.job
        start = int(job.cursor.get("position", 0))
        part = [email_key(email) for email in program.emails[start : start + BATCH]]
        if not part:
            return True, {}
        usable = await rows.usable_emails(part)
        count = await rows.suppress(job.id, usable, program.detail, job.actor, self._clock())
        job.cursor = {"position": start + len(part)}
        job.done += count
        return False, {"blocked": count}

    async def _finish(self, batch: Batch, run: UtilityRun) -> None:
        job = batch.job
        job.total = job.done
        now = self._clock()
        run.finished_at = now
        actor = Actor(job.account_id, job.actor, job.address)
        after = {"program": run.program, **job.result}
        await record(batch.db, actor, "utility.run", kind="utility", key=str(run.id), after=after, now=now)


def utility_handlers(clock: Clock) -> Mapping[str, JobHandler]:
    """By kind of job."""
    return {"utility": UtilityHandler(clock), "utility-undo": UndoHandler(UtilityUndo(clock), clock)}


def _add(batch: Batch, counts: Mapping[str, int]) -> None:
    before = batch.job.result
    batch.job.result = {**before, **{name: before.get(name, 0) + count for name, count in counts.items()}}


def _changes(program: EditProgram | RetagProgram, value: Any, current: Sequence[Current]) -> tuple[list[Change], int]:
    """What becomes of addresses that are locked, and how many have no room."""
    changes: list[Change] = []
    refused = 0
    for row in current:
        after = changed(program, value, row.values)
        if after is None:
            refused += 1
        elif after != dict(row.values):
            changes.append(_change(row, after))
    return changes, refused


def _united(rows: Sequence[Current]) -> Change | None:
    after = united([row.values for row in rows])
    return None if after is None else _change(rows[0], after)


def _note(rows: Sequence[Current], at: datetime) -> Merge:
    """Who was merged into whom. It is undone with the program, not by itself: no address has such a version."""
    return Merge(kept_id=rows[0].id, kept_version=-1, merged_ids=[row.id for row in rows[1:]], before={}, at=at)


def _change(row: Current, after: Mapping[str, Any]) -> Change:
    # What was stored stays as it was, also where rules have become stricter since.
    return Change(row, Ready.of(AddressInput.model_construct(**after), after["attributes"]))
