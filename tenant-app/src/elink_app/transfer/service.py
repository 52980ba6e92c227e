"""Preparing an import, running it, undoing it. Pages and API call these and nothing else."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.permissions import Principal
from elink_app.attributes.service import definitions
from elink_app.audit.service import Actor, record
from elink_app.clock import Clock
from elink_app.errors import AppError, NotFound
from elink_app.jobs.repository import OPEN
from elink_app.jobs.service import Jobs
from elink_app.messages import N_, Message
from elink_app.registry.tenant import Tenant
from elink_app.transfer.columns import ATTRIBUTE, REASON_HEADINGS, Column, Target, guess, guess_by_content, heading_key
from elink_app.transfer.detect import Encoding, detect
from elink_app.transfer.models import ImportFile
from elink_app.transfer.plan import Plan
from elink_app.transfer.repository import TransferRepository
from elink_app.transfer.rights import kept_rights
from elink_app.transfer.store import FileStore, Shelf
from elink_app.transfer.tables import BadTable, is_workbook, read_rows

PREVIEW_ROWS = 8
LISTED = 20


class StorageFull(AppError):
    """The plan's room for files is used up."""

    status = 409
    code = "storage-full"
    title = N_("There is no room for more files")

    def __init__(self) -> None:
        super().__init__(
            Message(N_("Delete images of mails or files of unsent deliveries, or ask your provider for a larger plan."))
        )


class NotReady(AppError):
    """The step before this one is missing."""

    status = 409
    code = "not-ready"
    title = N_("Something is missing before this step")


_NO_COLUMNS = Message(N_("Say which column is the name, the company or the e-mail."))
_NO_PROOF = Message(N_("Say where the consents were given and to which words. Or leave that column out."))
_NO_UNDO = Message(N_("This can no longer be undone: the time for it is over, or it was undone before."))


@dataclass(frozen=True)
class Preview:
    """The first rows of a file, read as its plan says; `problem` when that does not work."""

    heading: list[str]
    rows: list[list[str]]
    problem: Message | None = None


@dataclass(frozen=True)
class Upload:
    """An uploaded file as people see it."""

    id: int
    name: str
    size: int
    created_at: datetime
    plan: Plan
    file: str


def look(path: Path, plan: Plan) -> Preview:
    """Read the first rows. Blocks."""
    try:
        rows = list(itertools.islice(read_rows(path, plan.layout), PREVIEW_ROWS + 1))
    except BadTable as error:
        return Preview([], [], error.message)
    if not rows:
        return Preview([], [], Message(N_("The file holds no rows.")))
    width = max(map(len, rows))
    padded = [[*row, *[""] * (width - len(row))] for row in rows]
    # Columns beyond the heading have no name and cannot be chosen: such rows are refused one by one.
    if not plan.has_heading:
        return Preview([""] * width, padded[:PREVIEW_ROWS])
    return Preview(rows[0], [row[: len(rows[0])] for row in padded[1:]])


def _first_plan(path: Path) -> Plan:
    """How the file is probably to be read. Blocks."""
    if is_workbook(path):
        return Plan(workbook=True)
    found = detect(path)
    return Plan(encoding=found.encoding or Encoding.CP932, separator=found.separator)


class Imports:
    """The imports of one tenant within one transaction. Everybody sees their own, the master all."""

    def __init__(
        self, session: AsyncSession, tenant: Tenant, store: FileStore, clock: Clock, undo_window: timedelta
    ) -> None:
        self._session = session
        self._rows = TransferRepository(session)
        self._jobs = Jobs(session, clock)
        self._tenant = tenant
        self._store = store
        self._clock = clock
        self._undo_window = undo_window

    async def add(self, principal: Principal, file: str, name: str) -> int:
        """Take up a file that was received; its id."""
        path = self._store.path(self._tenant, Shelf.IMPORTS, file)
        plan = await asyncio.to_thread(_first_plan, path)
        plan = await self._with_columns(path, await self._with_heading(path, plan))
        row = ImportFile(
            file=file,
            name=_shown_name(name),
            size=path.stat().st_size,
            account_id=principal.account_id,
            created_at=self._clock(),
            plan=plan.model_dump(mode="json"),
        )
        await self._rows.add(row)
        return row.id

    async def newest(self, principal: Principal) -> Sequence[Upload]:
        """The newest files that this account may see."""
        owner = None if principal.is_master else principal.account_id
        return [_upload(row) for row in await self._rows.newest(owner, LISTED)]

    async def get(self, principal: Principal, file_id: int) -> Upload:
        """One file; raises NotFound for somebody else's."""
        return _upload(await self._load(principal, file_id))

    async def preview(self, principal: Principal, file_id: int) -> Preview:
        """Its first rows."""
        row = await self._load(principal, file_id)
        return await self._look(row, Plan.model_validate(row.plan))

    async def save(self, principal: Principal, file_id: int, plan: Plan) -> Plan:
        """Keep how the file is to be taken. When it is read in another way, its columns are guessed again."""
        row = await self._load(principal, file_id)
        before = Plan.model_validate(row.plan)
        own = {ATTRIBUTE + one.key for one in await definitions(self._session)}
        columns = [one if one in own or one in set(Target) else Target.NONE for one in plan.columns]
        plan = plan.model_copy(update={"workbook": before.workbook, "columns": columns})
        path = self._store.path(self._tenant, Shelf.IMPORTS, row.file)
        if (plan.layout, plan.has_heading) != (before.layout, before.has_heading):
            plan = await self._with_columns(path, plan)
        row.plan = plan.model_dump(mode="json")
        return plan

    async def check(self, principal: Principal, file_id: int, actor: Actor) -> int:
        """Queue a rehearsal; the id of its job. Raises NotReady when nothing could be taken."""
        return await self._start("import-check", principal, file_id, actor)

    async def run(self, principal: Principal, file_id: int, actor: Actor) -> int:
        """Queue the import; the id of its job. Raises NotReady when nothing could be taken."""
        number = await self._start("import", principal, file_id, actor)
        after = {"file": (await self._load(principal, file_id)).name, "job": number}
        await record(
            self._session, actor, "addresses.import_started", kind="job", key=str(number), after=after,
            now=self._clock(),
        )  # fmt: skip
        return number

    async def undo(self, principal: Principal, job_id: int, actor: Actor) -> int:
        """Queue the undoing of an import; the id of its job. Raises NotFound, or NotReady when it is too late."""
        await self._jobs.get(principal, job_id)
        job = await self._rows.lock_job(job_id)
        if job is None or job.kind != "import" or job.state in OPEN or job.finished_at is None:
            raise NotReady(_NO_UNDO)
        if "undo" in job.result or self._clock() - job.finished_at >= self._undo_window:
            raise NotReady(_NO_UNDO)
        total = await self._rows.count_changes(job_id)
        number = await self._jobs.start(
            "import-undo", {"job": job_id, "rights": kept_rights(principal)}, actor, total=total
        )
        job.result = {**job.result, "undo": number}
        return number

    async def attributes(self) -> Mapping[str, str]:
        """The labels of the tenant's own fields by what a column is set to for them."""
        return {ATTRIBUTE + one.key: one.label for one in await definitions(self._session)}

    async def bad_rows(self, job_id: int, after: int, limit: int) -> Sequence[tuple[int, list[str], list[Any]]]:
        """Refused rows of a job that the caller may see: number, cells, reasons."""
        return await self._rows.bad_rows(job_id, after, limit)

    async def _start(self, kind: str, principal: Principal, file_id: int, actor: Actor) -> int:
        row = await self._load(principal, file_id)
        plan = Plan.model_validate(row.plan)
        if not {Target.NAME, Target.COMPANY, Target.EMAIL} & set(plan.columns):
            raise NotReady(_NO_COLUMNS)
        if Target.CONSENT in plan.columns and not (plan.consent_source and plan.consent_wording):
            raise NotReady(_NO_PROOF)
        preview = await self._look(row, plan)
        if preview.problem is not None:
            raise NotReady(preview.problem)
        plan = plan.model_copy(update={"columns": _fitted(plan.columns, len(preview.heading))})
        if plan.has_heading:
            await self._rows.remember(heading_key(preview.heading), plan.columns, self._clock())
        parameters = {
            "import": file_id,
            "file": row.file,
            "name": row.name,
            "heading": preview.heading,
            "plan": plan.model_dump(mode="json"),
            "rights": kept_rights(principal),
        }
        return await self._jobs.start(kind, parameters, actor)

    async def _look(self, row: ImportFile, plan: Plan) -> Preview:
        path = self._store.path(self._tenant, Shelf.IMPORTS, row.file)
        try:
            return await asyncio.to_thread(look, path, plan)
        except FileNotFoundError:
            raise NotFound from None

    async def _with_heading(self, path: Path, plan: Plan) -> Plan:
        """A first row with an e-mail in it, and without a word that headings have, is no heading."""
        first = (await asyncio.to_thread(look, path, plan)).heading
        is_data = not any(guess(first)) and any("@" in cell for cell in first)
        return plan.model_copy(update={"has_heading": not is_data})

    async def _with_columns(self, path: Path, plan: Plan) -> Plan:
        preview = await asyncio.to_thread(look, path, plan)
        heading = preview.heading
        if not plan.has_heading:
            columns = guess_by_content(preview.rows)
        else:
            mended = bool(heading) and heading[-1] in REASON_HEADINGS
            known = await self._rows.mapping(heading_key(heading[:-1] if mended else heading))
            own = {one.key: one.label for one in await definitions(self._session)}
            columns = list(known) if known is not None else guess(heading, own)
        return plan.model_copy(update={"columns": _fitted(columns, len(heading))})

    async def _load(self, principal: Principal, file_id: int) -> ImportFile:
        row = await self._rows.get(file_id)
        if row is None or not (principal.is_master or row.account_id == principal.account_id):
            raise NotFound
        return row


def _fitted(columns: Sequence[Column], width: int) -> list[Column]:
    return [*columns, *[Target.NONE] * (width - len(columns))][:width]


def _shown_name(name: str) -> str:
    """The last part of what the user's machine calls the file, for showing only."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in last if c.isprintable())[:200]


def _upload(row: ImportFile) -> Upload:
    return Upload(row.id, row.name, row.size, row.created_at, Plan.model_validate(row.plan), row.file)
