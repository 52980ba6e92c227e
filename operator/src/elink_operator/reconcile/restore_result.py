"""Telling the result of a restore: Events at both resources, and the proof of a drill in the tenant's status."""

from elink_operator import conditions, naming
from elink_operator.api import ElinkRestore
from elink_operator.api.restore import Mode, RestorePhase
from elink_operator.cluster.kinds import RESTORE, TENANT, Obj
from elink_operator.desired import change
from elink_operator.reconcile import changes
from elink_operator.reconcile.context import Context
from elink_operator.reconcile.restore_case import Case
from elink_operator.reconcile.status import write_status

DRILL_SUCCEEDED = "Succeeded"
DRILL_FAILED = "Failed"
_SUMMARY = 200
_CALLED_OFF = frozenset({"", "Deleted", "TenantDeleted", "TenantErased"})
"""No word about the generation: somebody did not want the result any more."""


async def announce(ctx: Context, restore: ElinkRestore, reason: str, message: str, *, fine: bool = True) -> None:
    """An Event at the restore and at each tenant that it concerns; of a drill that went well at the restore only."""
    type_ = "Normal" if fine else "Warning"
    regarding = [ctx.store.get(RESTORE, None, restore.name)]
    if restore.spec.mode is not Mode.DRILL or not fine:
        regarding += [ctx.store.get(TENANT, None, name) for name in sorted({restore.spec.tenant, restore.target})]
    for live in regarding:
        if live is not None:
            await ctx.client.event(live, type_=type_, reason=reason, message=message)


async def record_result(case: Case, phase: RestorePhase, message: str) -> None:
    """A record of the change at each tenant whose data was restored or copied, by whom the restore was asked for."""
    restore, live = case.restore, case.ctx.store.get(RESTORE, None, case.restore.name)
    if restore.spec.mode is Mode.DRILL or live is None:
        return
    what = f"{'Move' if restore.spec.mode is Mode.MOVE else 'Restore'}{phase.value}"
    for name in sorted({restore.spec.tenant, restore.target}):
        await changes.note(
            case.ctx,
            TENANT,
            name,
            what=what,
            key=f"restore-{naming.digest(restore.metadata.uid)}",
            summary=f"{restore.name} ({restore.spec.mode.value} of {restore.spec.tenant}): {message}"[:_SUMMARY],
            who=change.spec_author(live),
        )


async def result_of(case: Case, phase: RestorePhase, result: Obj) -> None:
    """`status.restoreDrill` of the tenant, when the restore was a drill that ran and was not called off."""
    restore, source = case.restore, case.source
    called_off = phase is not RestorePhase.SUCCEEDED and restore.status.failure in _CALLED_OFF
    if restore.spec.mode is not Mode.DRILL or source is None or called_off:
        return
    fine = phase is RestorePhase.SUCCEEDED
    seen = restore.status
    drill: Obj = {
        "at": result["finishedAt"],
        "generation": seen.generation or restore.spec.generation,
        "result": DRILL_SUCCEEDED if fine else DRILL_FAILED,
        "seconds": result.get("durationSeconds", 0),
        "dataAgeSeconds": seen.data_age_seconds or 0,
        "rows": seen.rows or 0,
        "files": seen.files or 0,
        "message": result["message"],
        "restore": restore.name,
    }
    before = source.status.restore_drill
    if fine:
        drill["provenAt"] = result["finishedAt"]
    elif before is not None and before.proven_at is not None:
        drill["provenAt"] = conditions.timestamp(before.proven_at)
    await write_status(case.ctx, TENANT, source.name, {"restoreDrill": drill})
