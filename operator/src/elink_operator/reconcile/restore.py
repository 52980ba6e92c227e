"""One ElinkRestore, step by step: each recorded before it begins, repeatable, and undone when a later one fails."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import structlog

from elink_operator import conditions
from elink_operator.api import ElinkRestore
from elink_operator.api.admission import is_to_be_erased
from elink_operator.api.admission_restore import validate_restore
from elink_operator.api.meta import find_condition
from elink_operator.api.restore import Mode, RestorePhase
from elink_operator.api.restore import RestoreStep as Step
from elink_operator.cluster.errors import Forbidden, Invalid, NotLeader
from elink_operator.cluster.kinds import RESTORE, Obj
from elink_operator.conditions import Condition
from elink_operator.database import DatabaseError
from elink_operator.reconcile import move_steps
from elink_operator.reconcile import restore_steps as steps
from elink_operator.reconcile.context import Context, Outcome
from elink_operator.reconcile.errors import Waiting
from elink_operator.reconcile.restore_case import Case, RestoreFailed, deletion_of
from elink_operator.reconcile.restore_plan import AFTER_SUCCESS, can_turn_back, first_step, next_step, way_back
from elink_operator.reconcile.restore_result import announce, record_result, result_of
from elink_operator.reconcile.status import conditions_of, ensure_finalizer, remove_finalizer, write_status
from elink_operator.reconcile.unreadable import report_unread

log = structlog.get_logger()

COMPLETE: Final = "Complete"
_PATIENCE: Final = timedelta(minutes=15)
"""How long a refusal by PostgreSQL or the API server is waited out before the restore turns back."""
_RETRY_SECONDS: Final = 10.0

_RUN: Final[dict[Step, Callable[[Case], Awaitable[Obj]]]] = {
    Step.SAFETY_BACKUP: steps.back_up_first,
    Step.MAKE_TENANT: steps.make_tenant,
    Step.MAINTENANCE: steps.enter_maintenance,
    Step.RESTORE: steps.read_generation,
    Step.SWITCH_FILES: steps.switch_files,
    Step.SWITCH_DATABASE: steps.switch_database,
    Step.VERIFY: steps.verify,
    Step.KEEP_OLD: steps.keep_old,
    Step.REMOVE_OLD: steps.remove_old,
    Step.RETURN_DATABASE: steps.return_database,
    Step.RETURN_FILES: steps.return_files,
    Step.REMOVE_SCRATCH: steps.remove_scratch,
    Step.PREPARE_TARGET: move_steps.prepare_target,
    Step.MOVE_HOME: move_steps.move_home,
    Step.REMOVE_SOURCE: move_steps.remove_source,
    Step.REMOVE_TARGET: move_steps.remove_target,
}


def _program(mode: Mode, step: Step) -> Callable[[Case], Awaitable[Obj]]:
    if mode is Mode.MOVE and step is Step.VERIFY:
        return move_steps.verify
    return _RUN[step]


async def reconcile_restore(name: str, ctx: Context) -> Outcome:
    """Take a restore as far as it goes now."""
    restore = ctx.world.restores.get(name)
    if restore is None:
        return await report_unread(ctx, RESTORE, name)
    if restore.deleting and not restore.metadata.finalizers:
        return Outcome()
    if restore.finished and not restore.keeps_old:
        await remove_finalizer(ctx, RESTORE, name)
        return Outcome()
    if not restore.running and not restore.finished:
        waits = await _begin(ctx, restore)
        if waits is not None:
            return waits
    while (current := ctx.world.restores.get(name)) is not None and _has_work(current):
        waits = await _step(ctx, current)
        if waits is not None:
            return waits
    await remove_finalizer(ctx, RESTORE, name)
    return Outcome()


def _has_work(restore: ElinkRestore) -> bool:
    return restore.running or (restore.finished and restore.keeps_old)


async def _begin(ctx: Context, restore: ElinkRestore) -> Outcome | None:
    """Judge a new restore and let it run; an Outcome while it may not."""
    case = Case(ctx, restore)
    if restore.deleting:
        ctx.memory.restores_begun.discard(restore.metadata.uid)
        await remove_finalizer(ctx, RESTORE, restore.name)
        return Outcome()
    refusals = validate_restore(restore, restore, ctx.world)
    if refusals:
        await _finish(case, RestorePhase.FAILED, "NotAllowed", " ".join(refusals))
        return Outcome()
    rival = _rival(ctx, restore)
    if rival is not None:
        waiting = conditions.false(COMPLETE, "WaitingForRestore", f"restore {rival.name} of the tenant runs first")
        await _write(case, {"phase": RestorePhase.PENDING.value}, waiting)
        return Outcome(30)
    # No await between the look for a rival and this line: of two that are made at the same time one waits.
    ctx.memory.restores_begun.add(restore.metadata.uid)
    await ensure_finalizer(ctx, RESTORE, restore.name)
    step = first_step(restore.spec.mode)
    log.info("restore begins", tenant=restore.spec.tenant, mode=restore.spec.mode.value)
    started = {
        "phase": RestorePhase.RUNNING.value,
        "step": step.value,
        "startedAt": case.stamp,
        "stepSince": case.stamp,
        "observedGeneration": restore.metadata.generation,
    }
    await _write(case, started, conditions.false(COMPLETE, "Running", "the restore runs"))
    ctx.memory.restores_begun.discard(restore.metadata.uid)
    await announce(ctx, restore, "RestoreStarted", f"restore {restore.name} ({restore.spec.mode.value}) has begun")
    return None


def _rival(ctx: Context, restore: ElinkRestore) -> ElinkRestore | None:
    """A restore of one of the same tenants that goes first: one that runs, else the elder."""
    begun = ctx.memory.restores_begun

    def runs(other: ElinkRestore) -> bool:
        return other.running or other.metadata.uid in begun

    if runs(restore):
        return None
    others = {
        other.name: other
        for tenant in (restore.spec.tenant, restore.target)
        for other in ctx.world.restores_of(tenant, besides=restore.name)
        if not other.finished and (runs(other) or _age(other) < _age(restore))
    }
    return min(others.values(), key=lambda other: (not runs(other), _age(other)), default=None)


def _age(restore: ElinkRestore) -> tuple[str, str]:
    made = restore.metadata.creation_timestamp
    return (conditions.timestamp(made) if made else "", restore.name)


async def _step(ctx: Context, restore: ElinkRestore) -> Outcome | None:
    """Do the recorded step and record the next one; an Outcome while it is not done."""
    case, step = Case(ctx, restore), Step(restore.status.step)
    forwards = can_turn_back(restore.spec.mode, step)
    try:
        target = case.target
        # Nobody confirmed another deletion: such a tenant stays, with its old data or with all of the restored.
        gone = target is None or (is_to_be_erased(target) and not restore.moves)
        if gone and step is not Step.MAKE_TENANT:
            # Erasing a tenant removes what a restore made of it, too, and what it kept.
            if restore.finished:
                await _write(case, {"step": Step.DONE.value, "oldDataUntil": None})
            else:
                await _finish(case, RestorePhase.FAILED, "TenantErased", f"tenant {restore.target} was erased")
            return None
        if restore.deleting and forwards:
            raise RestoreFailed("Deleted", "the restore was deleted before it had ended")
        if forwards and target is not None and target.deleting:
            raise deletion_of(target)
        facts = await _program(restore.spec.mode, step)(case)
    except RestoreFailed as failed:
        await _turn_back(case, step, failed)
        return None
    except Waiting as wait:
        await _report(case, wait.reason, wait.message)
        return Outcome(wait.retry_after)
    except NotLeader:
        raise
    except (DatabaseError, Invalid, Forbidden) as error:
        reason = error.reason if isinstance(error, DatabaseError) else "ApplyRefused"
        since = restore.status.step_since or case.now
        if forwards and case.now - since > _PATIENCE:
            await _turn_back(case, step, RestoreFailed(reason, f"step {step.value} did not succeed: {error}"))
            return None
        await _report(case, reason, f"step {step.value}: {error}; it is tried again")
        return Outcome(_RETRY_SECONDS)
    await _advance(case, step, facts)
    return None


async def _advance(case: Case, step: Step, facts: Obj) -> None:
    """Record what the step found and what comes next; the result when nothing does."""
    restore = case.restore
    if step is Step.RESTORE and facts.get("attempt", 0) > max(1, restore.status.attempt):
        # Not done: read once more.
        await _write(case, facts)
        return
    following = next_step(restore.spec.mode, step, failed=bool(restore.status.failure))
    moved = {**facts, "step": following.value, "stepSince": case.stamp}
    if step is Step.VERIFY:
        if restore.status.maintenance_at is not None:
            moved["downSeconds"] = max(0, round((case.now - restore.status.maintenance_at).total_seconds()))
        if restore.spec.mode in {Mode.IN_PLACE, Mode.MOVE}:
            until = case.now + timedelta(hours=case.ctx.settings.restore_keep_hours)
            moved["oldDataUntil"] = conditions.timestamp(until)
        await _succeed(case, moved)
    elif following is not Step.DONE or step in AFTER_SUCCESS:
        result = find_condition(restore.status.conditions, COMPLETE)
        if following is Step.DONE and result is not None:
            moved["message"] = result.message  # in place of what the cleaning up waited for
        await _write(case, moved)
    elif not restore.status.failure:
        await _succeed(case, moved)
    else:
        phase = RestorePhase.ROLLED_BACK if restore.status.maintenance_at else RestorePhase.FAILED
        await _finish(case, phase, restore.status.failure, restore.status.message, moved)


async def _turn_back(case: Case, step: Step, failed: RestoreFailed) -> None:
    log.warning("restore turns back", tenant=case.restore.spec.tenant, step=step.value, reason=failed.reason)
    back = way_back(case.restore.spec.mode, step)
    facts: Obj = {**failed.facts, "failure": failed.reason, "message": str(failed)[:1000]}
    if back is Step.DONE:
        await _finish(case, RestorePhase.FAILED, failed.reason, str(failed), facts)
        return
    turning = conditions.false(COMPLETE, failed.reason, f"{failed}; what was begun is being undone")
    await _write(case, {**facts, "step": back.value, "stepSince": case.stamp}, turning)


async def _succeed(case: Case, facts: Obj) -> None:
    restore = case.restore
    message = {
        Mode.DRILL: "the generation was restored on trial and is as it was backed up; nothing of it is left",
        Mode.IN_PLACE: "the tenant works with the restored data",
        Mode.AS_NEW: f"tenant {restore.target} works with a copy of the data; its deliveries are stopped",
        Mode.MOVE: f"the tenant lives on server {restore.spec.move.server if restore.spec.move else ''} now",
    }[restore.spec.mode]
    await _finish(case, RestorePhase.SUCCEEDED, "Succeeded", message, facts)


async def _finish(case: Case, phase: RestorePhase, reason: str, message: str, facts: Obj | None = None) -> None:
    """The result, once: in the status, as Events, in the metrics, and of a drill in the tenant's status."""
    restore, fine = case.restore, phase is RestorePhase.SUCCEEDED
    started = restore.status.started_at
    facts = {"step": Step.DONE.value, **(facts or {})}
    result: Obj = {
        **facts,
        "phase": phase.value,
        "message": message[:1000],
        "finishedAt": case.stamp,
        "observedGeneration": restore.metadata.generation,
    }
    if not fine:
        result["failure"] = reason
    if started is not None:
        result["durationSeconds"] = max(0, round((case.now - started).total_seconds()))
    make = conditions.true if fine else conditions.false
    await result_of(case, phase, result)
    await record_result(case, phase, message)
    await _write(case, result, make(COMPLETE, reason, message))
    mode = restore.spec.mode.value
    log.info("restore ended", tenant=restore.spec.tenant, mode=mode, phase=phase.value, reason=reason)
    metrics = case.ctx.metrics
    metrics.restores.labels(mode, phase.value).inc()
    if fine and started is not None:
        metrics.restore_seconds.labels(mode).observe(result["durationSeconds"])
    word = {RestorePhase.SUCCEEDED: "Restored", RestorePhase.ROLLED_BACK: "RestoreRolledBack"}
    await announce(
        case.ctx, restore, word.get(phase, "RestoreFailed"), f"restore {restore.name} ({mode}): {message}", fine=fine
    )


async def _report(case: Case, reason: str, message: str) -> None:
    """What is waited for. The result of a finished restore stays; what holds its cleaning up is added."""
    if not case.restore.finished:
        await _write(case, {}, conditions.false(COMPLETE, reason, message))
    elif message:
        await _write(case, {"message": f"cleaning up: {message}"[:1000]})


async def _write(case: Case, facts: Obj, complete: Condition | None = None) -> None:
    restore = case.restore
    if complete is not None:
        generation = restore.metadata.generation
        facts = {**facts, "conditions": conditions_of(case.ctx, RESTORE, restore.name, generation, [complete])}
    await write_status(case.ctx, RESTORE, restore.name, facts)
