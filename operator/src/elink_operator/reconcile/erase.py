"""The erasure of a tenant: step by step, each repeatable and re-checked, and the finalizer last.

An unknown answer never counts as done. Killed at any point, the next run begins at the first step again; what is gone
already is confirmed and not removed twice.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from elink_operator import conditions
from elink_operator.api import ElinkTenant
from elink_operator.api.tenant import ErasureStep, Phase
from elink_operator.cluster.errors import ClusterError, NotLeader
from elink_operator.cluster.kinds import TENANT, Obj
from elink_operator.database import DatabaseError
from elink_operator.desired import change
from elink_operator.objectstore import ObjectStoreError
from elink_operator.reconcile import changes
from elink_operator.reconcile import erase_steps as steps
from elink_operator.reconcile.context import Context, Outcome
from elink_operator.reconcile.erase_case import (
    BUCKET_STEP,
    FILES_STEP,
    RESIDUE_STEP,
    SERVER_BACKUPS_STEP,
    Case,
    Evidence,
    Hold,
)
from elink_operator.reconcile.evidence import copies_of, left_behind, uncleared
from elink_operator.reconcile.forgetting import forget_in_server_backups
from elink_operator.reconcile.record import ensure_record, places
from elink_operator.reconcile.status import conditions_of, remove_finalizer, write_status

_RETRY_SECONDS = 10.0


@dataclass(frozen=True)
class Step:
    """One thing to remove. `run` returns what was removed; it raises Hold while something is left or unknown."""

    name: str
    run: Callable[[Case], Awaitable[Evidence]]
    once: bool = False
    """A step whose evidence is kept in the status and cannot be gathered a second time."""

    proved_by: str = ""
    """The step that looks again, when this one cannot."""


COUNT = Step("NeighboursCounted", steps.count_neighbours, once=True)
ROUTE = Step("Route", steps.remove_route)
SCHEDULE = Step("BackupSchedule", steps.remove_schedule)
DATABASE = Step("Database", steps.drop_database)
OWN_DATABASE = replace(DATABASE, once=True)
"""Of a dedicated server, which goes afterwards: then nobody can be asked a second time."""
RESIDUE = Step(RESIDUE_STEP, steps.clear_residue, once=True)
FILES = Step(FILES_STEP, steps.remove_files, once=True)
BUCKET = Step(BUCKET_STEP, steps.remove_bucket, once=True)
SERVER_BACKUPS = Step(SERVER_BACKUPS_STEP, forget_in_server_backups, once=True)
SECRETS = Step("Secrets", steps.remove_secrets)
COMPARE = Step("NeighboursUnharmed", steps.compare_neighbours, once=True)
VOLUMES = Step("VolumesListed", steps.list_volumes, once=True, proved_by="Server")
SERVER = Step("Server", steps.remove_server)


def steps_for(case: Case) -> list[Step]:
    """What there is to remove for this tenant, in order."""
    if case.home is None or case.nothing_was_made:
        return [ROUTE, SCHEDULE, SECRETS] if case.home else [SECRETS]
    bucket = [BUCKET] if case.has_bucket else []
    if not case.dedicated:
        return [COUNT, ROUTE, SCHEDULE, DATABASE, RESIDUE, FILES, *bucket, SERVER_BACKUPS, SECRETS, COMPARE]
    if case.external:
        return [ROUTE, SCHEDULE, OWN_DATABASE, RESIDUE, *bucket, VOLUMES, SECRETS, SERVER]
    # Namespace and volumes go as a whole, and with them database and files.
    return [ROUTE, SCHEDULE, *bucket, VOLUMES, SECRETS, SERVER]


async def erase_tenant(tenant: ElinkTenant, ctx: Context) -> Outcome:
    """Take the erasure as far as it goes now. Called only for deletions that are allowed."""
    case = Case.of(ctx, tenant)
    if not tenant.metadata.finalizers:
        return Outcome()
    plan = steps_for(case)
    record = {step.name: step for step in (tenant.status.erasure.steps if tenant.status.erasure else ())}
    done: dict[str, Obj] = {}
    for step in plan:
        known = record.get(step.name)
        if known is not None and known.done and step.once:
            done[step.name] = {"recheckedAt": conditions.timestamp(known.at or ctx.clock()), **known.dump()}
            continue
        try:
            evidence = await step.run(case)
        except Hold as hold:
            await _report(case, plan, done, held=step.name, reason=hold.reason, message=str(hold))
            return Outcome(hold.retry_after)
        except NotLeader:
            raise
        except (ClusterError, DatabaseError, ObjectStoreError, OSError) as error:
            text = f"{error}; what is unknown is not taken for erased, it is tried again"
            await _report(case, plan, done, held=step.name, reason="AnswerUnknown", message=text)
            return Outcome(_RETRY_SECONDS)
        first = known is None or not known.done
        again = {"recheckedAt": conditions.timestamp(ctx.clock())}
        done[step.name] = (_entry(ctx, step.name, evidence) if first else known.dump()) | again  # type: ignore[union-attr]
        if first:
            await _report(case, plan, done, reason="Erasing", message="the tenant's data is being erased")
    try:
        await _record(case, plan, done)
    except Hold as hold:
        await _report(case, plan, done, reason="RecordNotWritten", message=str(hold))
        return Outcome(hold.retry_after)
    except NotLeader:
        raise
    except ClusterError as error:
        text = f"the data is erased, but the record of it cannot be written: {error}; it is tried again"
        await _report(case, plan, done, reason="RecordNotWritten", message=text)
        return Outcome(_RETRY_SECONDS)
    ctx.memory.reserved.pop(tenant.name, None)
    changes.forget(ctx, tenant.metadata.uid)
    await remove_finalizer(ctx, TENANT, tenant.name)
    return Outcome()


async def _record(case: Case, plan: list[Step], done: dict[str, Obj]) -> None:
    """Write the ElinkErasure and tell of it."""
    taken = [ErasureStep.parse(done[step.name]) for step in plan]
    stores = places(taken, {step.name: step.proved_by for step in plan})
    neighbours = next((step.message for step in taken if step.name == COMPARE.name), "no other tenant lived there")
    known = {(place.store, place.name) for place in stores}
    elsewhere = set(case.ctx.world.servers) - {case.home.server if case.home else ""}
    remains = (
        *(uncleared(known) if RESIDUE in plan else ()),
        *left_behind(case.tenant, elsewhere),
        *copies_of(case.tenant, case.ctx.world.tenants.values()),
    )
    record = await ensure_record(case, stores, neighbours, remains)
    live = case.ctx.store.get(TENANT, None, case.tenant.name)
    if live is not None:
        proof = f"everything is erased; the proof is ElinkErasure {record['metadata']['name']}"
        await changes.note(case.ctx, TENANT, case.tenant.name, what=change.ERASED, key="erased", summary=proof)
        message = f"everything is erased; the record is ElinkErasure {record['metadata']['name']}"
        await case.ctx.client.event(live, type_="Normal", reason="Erased", message=message)


def _entry(ctx: Context, name: str, evidence: Evidence) -> Obj:
    at = conditions.timestamp(ctx.clock())
    stores = [store.dump() for store in evidence.stores]
    return {"name": name, "done": True, "at": at, "message": evidence.message[:1000], "stores": stores}


async def _report(
    case: Case, plan: list[Step], done: dict[str, Obj], *, reason: str, message: str, held: str = ""
) -> None:
    """`status.erasure` with every step, the condition Ready, and (by `write_status`) an Event per new reason."""
    ctx, tenant = case.ctx, case.tenant
    before = {step.name: step.dump() for step in (tenant.status.erasure.steps if tenant.status.erasure else ())}
    entries = []
    for step in plan:
        # A step that this run has not come to keeps what earlier runs found.
        entry = done.get(step.name) or before.get(step.name) or {"name": step.name, "done": False}
        if step.name == held:
            entry = {"name": step.name, "done": False, "message": message[:1000]}
        entries.append(entry)
    started = tenant.status.erasure.started_at if tenant.status.erasure else None
    erasure: Obj = {"steps": entries, "startedAt": conditions.timestamp(started or ctx.clock())}
    if case.neighbours is not None:
        erasure["neighbours"] = case.neighbours
    if case.counted is not None:
        erasure["neighbourTables"] = {"tables": list(case.counted.tables), "databases": dict(case.counted.marks)}
    if case.harm is not None:
        erasure["harm"] = case.harm[:1000]
    ready = conditions.false(conditions.READY, reason, message)
    merged = conditions_of(ctx, TENANT, tenant.name, tenant.metadata.generation, [ready])
    await write_status(
        ctx, TENANT, tenant.name, {"phase": Phase.ERASING.value, "conditions": merged, "erasure": erasure}
    )
