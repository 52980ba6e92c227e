"""Writes addresses into a file: handler of the jobs `export`.

The file grows batch by batch; the cursor knows its length, and what a crashed step wrote beyond that is cut off.
"""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import and_

from elink_app.addresses.models import Address
from elink_app.addresses.repository import AddressRepository, Filter
from elink_app.addresses.schemas import MAX_EMAILS
from elink_app.addresses.visibility import Action, visible
from elink_app.attributes.schemas import AttributeOutput, value_text
from elink_app.attributes.service import definitions
from elink_app.audit.service import Actor, record
from elink_app.clock import Clock
from elink_app.jobs.runner import Batch, JobFailed
from elink_app.messages import N_, Message
from elink_app.registry.tenant import Tenant
from elink_app.segments.compile import tree_condition
from elink_app.segments.schemas import TREE
from elink_app.spreadsheet import with_guard
from elink_app.text import search_terms
from elink_app.transfer.rights import asked_by
from elink_app.transfer.store import FileStore, Shelf
from elink_app.transfer.workbook import pack_workbook, sheet_rows

BATCH = 1000
_SHOWN_UNFIT = 100
GETA = "〓"
WORKBOOK = ".xlsx"
# Signs that CP932 has in a slightly other form: what Windows itself would write.
_ALIKE = str.maketrans("〜−‖—¢£¬", "～－∥―￠￡￢")
HEADINGS = ("氏名", "フリガナ", "会社", "電話", "郵便番号", "住所", "備考", "タグ")
_UNFIT = Message(N_("Some characters do not exist in Shift_JIS. Choose UTF-8, or let them be replaced by 〓."))


class Format(StrEnum):
    """Kind of file."""

    CSV = "csv"
    TSV = "tsv"
    XLSX = "xlsx"


class Unfit(StrEnum):
    """What happens to characters that the encoding does not have."""

    REFUSE = "refuse"
    REPLACE = "replace"


class ExportHandler:
    """Only addresses that the account may export, as its labels say."""

    def __init__(self, store: FileStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def forget(self, tenant: Tenant, job_id: int) -> None:
        """Nothing is kept between steps."""

    async def step(self, batch: Batch) -> bool:
        """One batch of addresses, in the order of their ids; then a workbook is packed."""
        job = batch.job
        if "raw" in job.cursor:
            # The workbook is committed: what it was made from may go.
            raw = self._store.path(batch.tenant, Shelf.EXPORTS, job.cursor["raw"])
            await asyncio.to_thread(raw.unlink, missing_ok=True)
            return await self._finish(batch)
        if "file" not in job.result:
            # Committed before anything is written: no file is without a job that knows it.
            name = self._store.new(batch.tenant, Shelf.EXPORTS)
            job.result = {"file": name, "rows": 0, "replaced": 0, "unfit": []}
            return False
        fields = await definitions(batch.db)
        path = self._store.path(batch.tenant, Shelf.EXPORTS, job.result["file"])
        length = int(job.cursor.get("length", 0))
        rows = await self._next(batch, int(job.cursor.get("address", 0)))
        lines = [_heading(fields)] if not length else []
        lines += [_cells(row, fields) for row in rows]
        workbook = job.parameters["format"] == Format.XLSX
        data, unfit = (sheet_rows(lines), []) if workbook else _encoded(lines, job.parameters, first=not length)
        if unfit and job.parameters["unfit"] == Unfit.REFUSE:
            await asyncio.to_thread(path.unlink, missing_ok=True)
            raise JobFailed(_UNFIT, unfit=sorted(set(unfit))[:_SHOWN_UNFIT])
        await asyncio.to_thread(_append, path, length, data)
        job.done += len(rows)
        job.result = {
            **job.result,
            "rows": job.done,
            "replaced": job.result["replaced"] + len(unfit),
            "unfit": sorted({*job.result["unfit"], *unfit})[:_SHOWN_UNFIT],
        }
        if rows:
            job.cursor = {"address": rows[-1].id, "length": length + len(data)}
            return False
        if workbook:
            packed = path.with_name(path.name + WORKBOOK)
            try:
                await asyncio.to_thread(pack_workbook, path, packed)
            except OSError:
                await asyncio.to_thread(packed.unlink, missing_ok=True)
                raise
            job.cursor, job.result = {"raw": path.name}, {**job.result, "file": packed.name}
            return False
        return await self._finish(batch)

    async def _finish(self, batch: Batch) -> bool:
        job = batch.job
        job.total = job.done
        actor = Actor(job.account_id, job.actor, job.address)
        await record(
            batch.db, actor, "addresses.exported", kind="job", key=str(job.id), after={"rows": job.done},
            now=self._clock(),
        )  # fmt: skip
        return True

    async def _next(self, batch: Batch, after: int) -> Sequence[Address]:
        asked = batch.job.parameters
        principal = asked_by(batch.job)
        allowed = visible(principal, Action.EXPORT)
        if asked.get("tree") is not None:
            allowed = and_(allowed, tree_condition(TREE.validate_python(asked["tree"])))
        wanted = Filter(tuple(search_terms(asked.get("q", ""))), asked.get("tag", ""), allowed)
        return await AddressRepository(batch.db, principal).after(wanted, after, BATCH)


def _heading(fields: Sequence[AttributeOutput]) -> list[str]:
    mails = [f"メール{n}" for n in range(1, MAX_EMAILS + 1)]
    return [*HEADINGS[:3], *mails, *HEADINGS[3:], *(one.label for one in fields)]


def _cells(row: Address, fields: Sequence[AttributeOutput]) -> list[str]:
    emails = [one.email for one in row.emails]
    padded = [*emails, *[""] * (MAX_EMAILS - len(emails))][:MAX_EMAILS]
    own = [_value(row.attributes.get(one.key)) for one in fields]
    tags = "、".join(tag.name for tag in row.tags)
    return [
        row.name, row.kana, row.company, *padded, row.phone, row.postal_code, row.postal_address, row.notes, tags, *own,
    ]  # fmt: skip


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "はい" if value else "いいえ"
    return "" if value is None else value_text(value)


def _encoded(lines: Sequence[Sequence[str]], asked: dict[str, Any], *, first: bool) -> tuple[bytes, list[str]]:
    """The lines as bytes, and every character that was replaced, as often as it was."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t" if asked["format"] == Format.TSV else ",")
    writer.writerows([with_guard(cell) for cell in line] for line in lines)
    whole = text.getvalue()
    if asked["encoding"] != "cp932":
        return whole.encode("utf-8-sig" if first else "utf-8"), []
    whole = whole.translate(_ALIKE)
    unfit = [c for c in set(whole) if not c.encode("cp932", "ignore")]
    lost = [c for c in whole if c in set(unfit)] if unfit else []
    return whole.translate(dict.fromkeys(map(ord, unfit), GETA)).encode("cp932"), lost


def _append(path: Path, length: int, data: bytes) -> None:
    with path.open("r+b" if length else "wb") as file:
        file.truncate(length)
        file.seek(length)
        file.write(data)
