"""Trying a program, running it, undoing it. Pages and API call these and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.permissions import Principal
from elink_app.addresses.models import Address
from elink_app.addresses.repository import AddressRepository
from elink_app.addresses.schemas import AddressInput
from elink_app.attributes.schemas import AttributeValues
from elink_app.attributes.service import definitions
from elink_app.audit.service import Actor, record
from elink_app.clock import JST, Clock
from elink_app.duplicates.repository import DuplicateRepository
from elink_app.emails import email_key
from elink_app.errors import AppError, FieldError, InvalidInput, NotFound
from elink_app.jobs.models import Job
from elink_app.jobs.repository import OPEN
from elink_app.jobs.service import Jobs
from elink_app.messages import N_, Message
from elink_app.segments.service import Segments
from elink_app.text import search_form
from elink_app.transfer.bulk import image_of
from elink_app.transfer.rights import kept_rights
from elink_app.utilities.models import UtilityRun
from elink_app.utilities.programs import changed, shown, united, without_private
from elink_app.utilities.repository import UtilityRepository
from elink_app.utilities.schemas import (
    ATTRIBUTE,
    COUNT_FROM,
    PROGRAM,
    DeleteProgram,
    EditProgram,
    MergeProgram,
    Program,
    ProgramName,
    RetagProgram,
    Sample,
    SuppressProgram,
    UtilityOutput,
    UtilityState,
)
from elink_app.utilities.target import wanted
from elink_app.validation import field_error, field_errors

LISTED = 100
SAMPLE = 10


class CountDiffers(AppError):
    """What was looked at is not what is there now."""

    status = 409
    code = "count-differs"
    title = N_("Look again first")


class UtilityOver(AppError):
    """A program is run once and undone once, within its time."""

    status = 409
    code = "utility-over"
    title = N_("This is no longer possible")


_TYPE_IT = N_("This would change %(count)d entries now. Look at them again and type this number.")
_RAN = Message(N_("This program was run already. Try it anew."))
_NO_UNDO = Message(N_("This can no longer be undone: the time for it is over, or it was undone before."))


class Utilities:
    """The utility programs of one tenant within one transaction. Everybody sees their own runs, the master all."""

    def __init__(
        self, session: AsyncSession, principal: Principal, actor: Actor, clock: Clock, undo_window: timedelta
    ) -> None:
        self._session = session
        self._rows = UtilityRepository(session, principal)
        self._jobs = Jobs(session, clock)
        self._principal = principal
        self._actor = actor
        self._clock = clock
        self._undo_window = undo_window

    async def draft(self, program: Program) -> UtilityOutput:
        """Try a program: the exact count and a sample; nothing is changed. Raises InvalidInput, NotFound."""
        program = await self._checked(program)
        tree: dict[str, Any] | None = None
        if program.target.segment_id is not None:
            segments = Segments(self._session, self._principal, self._actor, self._clock)
            tree = (await segments.get(program.target.segment_id)).tree.model_dump(mode="json")
        run = UtilityRun(
            program=program.program,
            request={**program.model_dump(mode="json"), "tree": tree},
            count=await self._count(program, tree),
            account_id=self._principal.account_id,
            actor=self._actor.name,
            created_at=self._clock(),
            result={},
            undo_result={},
        )
        await self._rows.add(run)
        return await self._output(run, None, sampled=True)

    async def get(self, run_id: int) -> UtilityOutput:
        """One program, with a fresh sample while it has not run; raises NotFound for somebody else's."""
        run = await self._load(run_id)
        jobs = await self._rows.jobs([run.job_id] if run.job_id else [])
        return await self._output(run, jobs.get(run.job_id or 0), sampled=run.job_id is None)

    async def newest(self) -> list[UtilityOutput]:
        """The newest of them: the log."""
        runs = await self._rows.newest(None if self._principal.is_master else self._principal.account_id, LISTED)
        jobs = await self._rows.jobs([run.job_id for run in runs if run.job_id])
        return [await self._output(run, jobs.get(run.job_id or 0), sampled=False) for run in runs]

    async def start(self, run_id: int, typed: int | None) -> int:
        """Queue the run; the id of its job. Raises CountDiffers when it is not what was looked at, UtilityOver."""
        run = await self._load(run_id, lock=True)
        if run.job_id is not None:
            raise UtilityOver(_RAN)
        program, tree = parsed(run)
        count = await self._count(program, tree)
        looked_at = typed if typed is not None else run.count
        if count != looked_at or (count >= COUNT_FROM and typed is None):
            raise CountDiffers(Message(_TYPE_IT, {"count": count}))
        parameters = {"run": run.id, "most": count, "rights": kept_rights(self._principal)}
        run.job_id = await self._jobs.start("utility", parameters, self._actor, total=count)
        run.count, run.started_at = count, self._clock()
        await self._note("utility.started", run, {**without_private(program), "count": count, "job": run.job_id})
        return run.job_id

    async def undo(self, run_id: int) -> int:
        """Queue the undoing; the id of its job. Raises UtilityOver when it is too late."""
        run = await self._load(run_id, lock=True)
        job = (await self._rows.jobs([run.job_id])).get(run.job_id) if run.job_id else None
        if job is None or run.undo_job_id is not None or self._until(run, job) is None:
            raise UtilityOver(_NO_UNDO)
        parameters = {"run": run.id, "job": job.id, "rights": kept_rights(self._principal)}
        run.undo_job_id = await self._jobs.start("utility-undo", parameters, self._actor)
        await self._note("utility.undo_started", run, {"program": run.program, "job": run.undo_job_id})
        return run.undo_job_id

    async def _checked(self, program: Program) -> Program:
        """The program with its value as it is kept; raises InvalidInput."""
        if isinstance(program, EditProgram):
            return program.model_copy(update={"value": await self._value(program)})
        if isinstance(program, RetagProgram):
            add, remove = ({search_form(tag) for tag in tags} for tags in (program.add, program.remove))
            errors: list[FieldError] = []
            if not add | remove:
                errors.append(field_error(("add",), "required"))
            if add & remove:
                errors.append(field_error(("remove",), "utility_same_tag"))
            rows = AddressRepository(self._session, self._principal)
            if add & await rows.reserved(program.add or ["-"]):
                errors.append(field_error(("add",), "tag_reserved"))
            if bound := await rows.bound(program.remove):
                errors.append(field_error(("remove",), "tag_bound", tags="、".join(bound)))
            if errors:
                raise InvalidInput(errors)
        return program

    async def _value(self, program: EditProgram) -> str:
        if program.field.startswith(ATTRIBUTE):
            key = program.field.removeprefix(ATTRIBUTE)
            fields = await definitions(self._session)
            known = next((one for one in fields if one.key == key), None)
            if known is None:
                raise InvalidInput([field_error(("field",), "choice")])
            _, code = AttributeValues(fields).parse(key, program.value or None)
            if known.required and not program.value:
                code = "required"
            if code:
                raise InvalidInput([field_error(("value",), code, max_length=500)])
            return program.value
        values = {"name": "-", program.field: program.value}
        try:
            return str(getattr(AddressInput.model_validate(values), program.field))
        except ValidationError as error:
            wrong = field_errors(error.errors())
            raise InvalidInput([FieldError(("value",), one.code, one.message) for one in wrong]) from None

    async def _count(self, program: Program, tree: dict[str, Any] | None) -> int:
        if isinstance(program, SuppressProgram) and program.emails:
            return len(await self._rows.usable_emails([email_key(email) for email in program.emails]))
        found = await wanted(self._session, self._principal, program, tree)
        if isinstance(program, MergeProgram):
            return await self._groups(found.audience).count(program.likeness)
        return await self._rows.count(found.condition)

    def _groups(self, audience: Any) -> DuplicateRepository:
        return DuplicateRepository(self._session, self._principal, audience)

    async def _sample(self, program: Program, tree: dict[str, Any] | None) -> list[Sample]:
        if isinstance(program, SuppressProgram) and program.emails:
            keys = await self._rows.usable_emails([email_key(email) for email in program.emails])
            return [Sample(address=None, name="", before=key, after="") for key in keys[:SAMPLE]]
        found = await wanted(self._session, self._principal, program, tree)
        if isinstance(program, MergeProgram):
            groups = self._groups(found.audience)
            alike = await groups.keys(program.likeness, "", SAMPLE)
            return [_merged(await groups.group(program.likeness, key)) for key in alike]
        rows = await self._rows.first(found.condition, SAMPLE)
        return [_sampled(program, found.value, row) for row in rows]

    async def _output(self, run: UtilityRun, job: Job | None, *, sampled: bool) -> UtilityOutput:
        program, tree = parsed(run)
        result = job.result if job is not None else run.result
        until = self._until(run, job) if job is not None and run.undo_job_id is None else None
        request = dict(run.request)
        request.pop("tree", None)
        if isinstance(request.get("emails"), list):
            request["emails"] = len(request["emails"])
        return UtilityOutput(
            id=run.id,
            program=ProgramName(run.program),
            request=request,
            state=_state(run, job),
            count=await self._count(program, tree) if sampled else run.count,
            sample=await self._sample(program, tree) if sampled else [],
            job=run.job_id,
            undo_job=run.undo_job_id,
            result={name: value for name, value in result.items() if isinstance(value, int)},
            actor=run.actor,
            created_at=run.created_at.astimezone(JST),
            undo_until=until.astimezone(JST) if until else None,
        )

    def _until(self, run: UtilityRun, job: Job) -> datetime | None:
        if job.state in OPEN or job.finished_at is None or run.undo_job_id is not None:
            return None
        until = job.finished_at + self._undo_window
        return until if until > self._clock() else None

    async def _load(self, run_id: int, *, lock: bool = False) -> UtilityRun:
        run = await self._rows.get(run_id, lock=lock) if 0 < run_id < 2**63 else None
        if run is None or not (self._principal.is_master or run.account_id == self._principal.account_id):
            raise NotFound
        return run

    async def _note(self, action: str, run: UtilityRun, after: Mapping[str, Any]) -> None:
        await record(
            self._session, self._actor, action, kind="utility", key=str(run.id), after=after, now=self._clock()
        )


def parsed(run: UtilityRun) -> tuple[Program, dict[str, Any] | None]:
    """What a run was asked for. A list or value that was erased since is empty."""
    request = dict(run.request)
    tree = request.pop("tree", None)
    return PROGRAM.validate_python(request), tree


def _state(run: UtilityRun, job: Job | None) -> UtilityState:
    if run.undone_at is not None:
        return UtilityState.UNDONE
    if run.job_id is None:
        return UtilityState.TRIED
    if job is not None:
        return UtilityState(job.state)
    # The job is no longer kept; what ended early was stopped or failed.
    return UtilityState.DONE if run.finished_at is not None else UtilityState.CANCELLED


def _sampled(program: Program, value: Any, row: Address) -> Sample:
    image = image_of(row)
    before = shown(program, image)
    after = ""
    if isinstance(program, EditProgram | RetagProgram):
        made = changed(program, value, image)
        after = shown(program, made) if made is not None else before
    elif isinstance(program, DeleteProgram):
        before = before or row.company
    return Sample(address=row.id, name=row.name, before=before, after=after)


def _merged(rows: Sequence[Address]) -> Sample:
    images = [image_of(row) for row in rows]
    made = united(images)

    def line(image: Mapping[str, Any]) -> str:
        return " ".join(part for part in (image["name"], image["company"], *image["emails"]) if part)

    return Sample(
        address=rows[0].id, name=rows[0].name, before=" / ".join(map(line, images)),
        after=line(made) if made is not None else "",
    )  # fmt: skip
