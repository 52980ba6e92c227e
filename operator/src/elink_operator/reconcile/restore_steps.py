"""What the steps of a restore do. Each may run again after a kill, and returns what the status should say of it.

A step raises Waiting while something is not done yet, and RestoreFailed when the restore must turn back.
"""

from contextlib import suppress
from typing import Final

from elink_operator import conditions, labels, naming, observe, restore_report
from elink_operator.api.admission import FROM_BACKUP, is_to_be_erased
from elink_operator.api.meta import is_true
from elink_operator.api.restore import ElinkRestore, Mode
from elink_operator.api.restored import made_by
from elink_operator.api.tenant import Plan
from elink_operator.cluster.errors import Conflict, Forbidden, Invalid
from elink_operator.cluster.kinds import JOB, TENANT, Obj
from elink_operator.database import DatabaseLost
from elink_operator.desired.copied import build_copied_tenant
from elink_operator.desired.restore import FilesAction, build_files_job, build_read_job, build_safety_backup
from elink_operator.desired.store import reachable_from
from elink_operator.reconcile import jobs, master
from elink_operator.reconcile.errors import Waiting
from elink_operator.reconcile.placing import home_of
from elink_operator.reconcile.restore_case import Case, Place, RestoreFailed
from elink_operator.reconcile.restore_loan import borrow, give_back

_TRIES: Final = 3
_LOOK: Final = 5.0
_LONGEST_LOOK: Final = 3600.0


async def back_up_first(case: Case) -> Obj:
    """A backup of what is there now; without a database there is nothing to back up."""
    tenant = case.live_source()
    if case.restore.from_backup:
        return {"safetyBackup": "none: the newest generation in the store is moved, as asked"}
    place = await case.place_left()
    moves = case.restore.spec.move is not None
    # A move goes on where its last backup ends: without it a day would be lost, and its mails would leave twice.
    if not moves and tenant.metadata.annotations.get(labels.SKIP_SAFETY_BACKUP) == tenant.name:
        return {"safetyBackup": "none: skipped by annotation"}
    snapshot = await case.ctx.databases.snapshot(place.server_db)
    if place.held.database not in snapshot.databases:
        if moves:
            raise RestoreFailed(
                "DatabaseLost",
                f"the database of tenant {tenant.name} is lost: restore it in place first, or move what the store has "
                f"with the annotation {labels.MOVE}: {FROM_BACKUP}",
            )
        return {"safetyBackup": "none: the database is lost"}
    job = await case.job(place, "safety")
    if job is None:
        await case.ctx.applier.apply_if_changed(JOB, build_safety_backup(place.inputs))
    state = observe.job_state(job)
    if state == "failed":
        said = observe.parse_backup_failure(
            observe.termination_message(await case.pods(place, "safety"), failed=True) or ""
        )
        why = said.message if said else observe.job_failure(job or {})
        advice = (
            "Repair that and delete this restore, the move then begins again"
            if moves
            else f"If the data is beyond saving: kubectl annotate et {tenant.name} {labels.SKIP_SAFETY_BACKUP}="
            f"{tenant.name}, then make a new restore"
        )
        raise RestoreFailed(
            said.reason if said else "BackupFailed",
            f"the backup before the {'move' if moves else 'restore'} failed ({why}), so nothing was changed. {advice}",
        )
    if state != "succeeded":
        raise Waiting("BackingUp", "the present data is being backed up first", retry_after=_LOOK)
    report = observe.parse_backup_summary(observe.termination_message(await case.pods(place, "safety")) or "")
    made = report.made or report.newest if report is not None else None
    return {"safetyBackup": _generation_of(made) if made else "made; its report is lost"}


async def make_tenant(case: Case) -> Obj:
    """The new tenant of a restore AsNew, empty, once it is served. One that others made is never filled."""
    source, ctx = case.live_source(), case.ctx
    present = case.target
    if present is None:
        pin = _server_for_copy(case)
        try:
            await ctx.client.create(TENANT, build_copied_tenant(source, case.restore, pin))
        except Conflict:
            raise Waiting("MakingTenant", f"tenant {case.restore.target} is being looked at", retry_after=1) from None
        except (Forbidden, Invalid) as error:
            raise RestoreFailed("TenantRefused", f"tenant {case.restore.target} cannot be made: {error}") from None
    elif not made_by(present, case.restore):
        raise RestoreFailed(
            "TenantExists", f"tenant {case.restore.target} exists and is not of this restore: choose another name"
        )
    present = case.target
    if present is None or not _is_ready(case, case.restore.target):
        raise Waiting(
            "MakingTenant", f"tenant {case.restore.target} is being made; 'kubectl get et' says how far it is"
        )
    return {}


def _server_for_copy(case: Case) -> str | None:
    """The pin of the new tenant. Raises RestoreFailed when its server could not reach the source's backups."""
    source, settings = case.live_source(), case.ctx.settings
    home = home_of(source)
    if home is None:
        raise RestoreFailed("NoBackup", f"tenant {source.name} was never placed, so it has no backups")
    dedicated = source.spec.plan is Plan.DEDICATED
    wanted = case.restore.spec.as_new.server if case.restore.spec.as_new is not None else None
    server = case.restore.target if dedicated else wanted or home.server
    if not reachable_from(settings, home.server, server):
        advice = (
            "the copy of a Dedicated tenant has a server of its own"
            if dedicated
            else f"set spec.asNew.server to {home.server} or remove it"
        )
        raise RestoreFailed(
            "StoreNotReachable",
            f"the backups of tenant {source.name} are on a volume of server {home.server}, which a pod on server "
            f"{server} cannot mount: {advice}; with an S3 store any server will do",
        )
    return None if dedicated else server


async def enter_maintenance(case: Case) -> Obj:
    """Nobody works with the tenant from now on: pages say so, the worker sends nothing, no backup begins."""
    tenant = case.restore.target
    for other in case.ctx.world.restores_of(tenant, besides=case.restore.name):
        if other.target == tenant and other.keeps_old:
            raise Waiting(
                "OldDataKept",
                f"the data that restore {other.name} replaced is being removed first",
                retry_after=2,
            )
    backups = observe.backup_jobs(case.ctx.store.by_tenant(tenant))
    running = [job for job in backups if observe.job_state(job) == "running"]
    if running:
        name = running[-1]["metadata"]["name"]
        raise Waiting("BackupRunning", f"backup Job {name} of the tenant runs; its end is waited for")
    if not case.restore.from_backup:
        await hold(case, await case.place_left())
    known = case.restore.status.maintenance_at
    return {"maintenanceAt": conditions.timestamp(known) if known else case.stamp}


async def hold(case: Case, place: Place) -> None:
    """The registry says Maintenance. A run of the tenant that began before may have written its row once more."""
    try:
        await case.ctx.databases.ensure_tenant(place.server_db, place.held, may_make=False)
    except DatabaseLost:
        return
    snapshot = await case.ctx.databases.snapshot(place.server_db)
    if snapshot.registry.get(place.held.name) != place.held.spec_hash:
        raise Waiting("EnteringMaintenance", "the tenant is being taken out of service", retry_after=1)


async def _hold_here(case: Case, place: Place) -> None:
    """Just before a switch; nobody works at the place that a move fills."""
    if case.restore.spec.move is None:
        await hold(case, place)


async def read_generation(case: Case) -> Obj:
    """The generation into an empty scratch database and an empty folder, compared with what was backed up."""
    case.live_source()
    place = await case.place()
    attempt = max(1, case.restore.status.attempt)
    what = f"read-{attempt}"
    job = await case.job(place, what)
    if job is None:
        await borrow(case, place)
        await case.ctx.databases.make_scratch(place.server_db, place.held, place.inputs.scratch)
        await case.ctx.applier.apply_if_changed(JOB, build_read_job(place.inputs, attempt))
    state = observe.job_state(job)
    if state == "failed" and job is not None:
        said = restore_report.container_messages(await case.pods(place, what))
        found = _why(job, said)
        if not found.again or attempt >= _TRIES:
            tried = {"generation": found.generation} if found.generation else {}
            raise RestoreFailed(found.reason, found.message, {**tried, **_compared(case, said)})
        return {"attempt": attempt + 1}
    if state != "succeeded":
        raise Waiting("Restoring", "the generation is read out of the store and compared", retry_after=_LOOK)
    said = restore_report.container_messages(await case.pods(place, what))
    facts: Obj = {"attempt": attempt, **_compared(case, said)}
    held = restore_report.parse_held(said.get("disarm", (0, ""))[1])
    return facts if held is None else {**facts, "held": held}


async def switch_files(case: Case) -> Obj:
    """The restored folder takes the place of the tenant's directory, which is kept beside it."""
    place = await case.place()
    await _hold_here(case, place)
    await files_done(case, place, "switch", "SwitchingFiles", lasting=False)
    return {}


async def switch_database(case: Case) -> Obj:
    """The restored database takes the name of the tenant's, which is kept under another."""
    place = await case.place()
    await _hold_here(case, place)
    try:
        await case.ctx.databases.adopt_scratch(place.server_db, place.held, place.inputs.scratch, place.inputs.kept)
    except DatabaseLost as error:
        raise RestoreFailed(error.reason, str(error)) from None
    if case.restore.spec.mode is Mode.IN_PLACE:
        await master.withdraw(case.ctx, place.inputs.target)
    return {}


async def verify(case: Case) -> Obj:
    """The tenant is served again, with the restored data."""
    place = await case.place()
    case.ctx.wake("tenant", case.restore.target)
    snapshot = await case.ctx.databases.snapshot(place.server_db)
    row = snapshot.registry.get(place.held.name)
    served = snapshot.serves(place.held.name, place.held.database, place.held.role) and row != place.held.spec_hash
    deleted = case.target is not None and case.target.deleting
    # Of a deletion that nobody confirmed Ready speaks for ever.
    if not served or not (deleted or _is_ready(case, case.restore.target)):
        raise Waiting(
            "Verifying",
            "the restored data is in place; the tenant's condition Ready is waited for",
            retry_after=1 if not served else _LOOK,
        )
    return {}


async def keep_old(case: Case) -> Obj:
    """The replaced data stays for a while, unless another restore of the tenant needs its place."""
    until = case.restore.status.old_data_until
    if case.target is None or is_to_be_erased(case.target):
        return {}
    waiting = any(
        other.target == case.restore.target and other.spec.mode in {Mode.IN_PLACE, Mode.MOVE} and not other.finished
        for other in case.ctx.world.restores_of(case.restore.target, besides=case.restore.name)
    )
    if until is None or waiting or case.restore.deleting or case.now >= until:
        return {}
    left = (until - case.now).total_seconds()
    raise Waiting("OldDataKept", "", retry_after=min(max(left, 1.0), _LONGEST_LOOK))


async def remove_old(case: Case) -> Obj:
    """The replaced database and directory go."""
    place = await case.place()
    await case.ctx.databases.drop_kept(place.server_db, place.held, place.inputs.kept)
    await files_done(case, place, "clear-kept", "RemovingOldData", lasting=True)
    if case.restore.spec.mode is Mode.AS_NEW:
        await give_back(case, place)
    return {"oldDataUntil": None}


async def return_database(case: Case) -> Obj:
    """The tenant's own database gets its name back."""
    place = await case.place()
    # Lost before the restore, it is lost after it: the tenant is as it was.
    with suppress(DatabaseLost):
        await case.ctx.databases.return_kept(place.server_db, place.held, place.inputs.kept, place.inputs.scratch)
    return {}


async def return_files(case: Case) -> Obj:
    """The tenant's own directory gets its name back."""
    place = await case.place()
    await stop_job(case, place, "switch")
    await files_done(case, place, "return", "ReturningFiles", lasting=True)
    return {}


async def remove_scratch(case: Case) -> Obj:
    """Scratch database and folder go; a Job that still fills them is ended first."""
    place = await case.place()
    await stop_job(case, place, f"read-{max(1, case.restore.status.attempt)}")
    await case.ctx.databases.drop_scratch(place.server_db, place.held, place.inputs.scratch)
    if case.restore.spec.mode is not Mode.DRILL:
        await files_done(case, place, "clear-restore", "RemovingScratch", lasting=True)
    if case.restore.spec.mode is Mode.AS_NEW:
        await give_back(case, place)
    return {}


async def files_done(case: Case, place: Place, action: FilesAction, reason: str, *, lasting: bool) -> None:
    """Until the Job that moves or removes folders has succeeded. `lasting`: a failed one is replaced, for ever."""
    job = await case.job(place, action)
    if job is None:
        await case.ctx.applier.apply_if_changed(JOB, build_files_job(place.inputs, action))
    state = observe.job_state(job)
    if state == "failed" and job is not None:
        where = f"kubectl logs -n {place.namespace} job/{job['metadata']['name']}"
        if not lasting:
            raise RestoreFailed("FilesNotSwitched", f"the tenant's directory could not be switched; see '{where}'")
        if jobs.failed_long_ago(job, case.now):
            await jobs.remove(case.ctx, job)
        raise Waiting(
            "FilesJobFailed",
            f"a Job that moves the tenant's files failed ({observe.job_failure(job)}); it is tried again every two "
            f"minutes; see '{where}'",
            retry_after=30,
        )
    if state != "succeeded":
        raise Waiting(reason, "a Job moves the tenant's files", retry_after=_LOOK)


async def stop_job(case: Case, place: Place, what: str) -> None:
    """A running Job and its pods are gone; a finished one stays for its log."""
    job = await case.job(place, what)
    if job is not None:
        if observe.job_state(job) != "running":
            return
        await jobs.remove(case.ctx, job)
    if await case.pods(place, what):
        name = naming.restore_job(case.restore.metadata.uid, what)
        raise Waiting("StoppingJob", f"pods of Job {name} are ending", retry_after=2)


def _why(job: Obj, said: dict[str, tuple[int, str]]) -> restore_report.RestoreFailure:
    listed = job.get("status", {}).get("conditions", ())
    failed = conditions.find(listed, "Failed") or {}
    if failed.get("reason") == "DeadlineExceeded":
        return restore_report.failure("TimedOut")
    broken = next(((name, code, text) for name, (code, text) in said.items() if code != 0), None)
    if broken is None:
        return restore_report.failure("JobLost")
    name, code, text = broken
    return restore_report.parse_failure(text, name, code)


def _compared(case: Case, said: dict[str, tuple[int, str]]) -> Obj:
    """What the container that read the generation compared, whether or not it was the same."""
    report = restore_report.parse_report(said.get("restore", (0, ""))[1])
    if report is None:
        return {}
    return {
        "generation": report.generation,
        "rows": report.rows,
        "tables": report.tables,
        "files": report.files,
        "different": list(report.different),
        **_age(case.restore, report.made),
    }


def _age(restore: ElinkRestore, made: str) -> Obj:
    """When the generation was made, and how old its data was when the restore began."""
    try:
        moment = conditions.parse_timestamp(made)
    except ValueError:
        return {}
    facts: Obj = {"generationMade": conditions.timestamp(moment)}
    if restore.status.started_at is not None:
        facts["dataAgeSeconds"] = max(0, round((restore.status.started_at - moment).total_seconds()))
    return facts


def _generation_of(moment: str) -> str:
    """RFC 3339 as the name of a generation."""
    return conditions.parse_timestamp(moment).strftime("%Y%m%dT%H%M%SZ")


def _is_ready(case: Case, tenant: str) -> bool:
    found = case.ctx.world.tenants.get(tenant)
    return found is not None and is_true(found.status.conditions, conditions.READY)
