"""What is known about backups, of a tenant or of a server's own data: from finished Jobs, read once each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from elink_operator import conditions, labels, naming, observe
from elink_operator.api import ElinkServer, ElinkTenant
from elink_operator.cluster.kinds import Obj
from elink_operator.conditions import Condition
from elink_operator.reconcile.context import Context
from elink_operator.reconcile.drills import drill_doubts
from elink_operator.reconcile.jobs import pods_of


@dataclass(frozen=True)
class BackupFacts:
    """`status.backup` (None: leave it) and the condition BackupHealthy."""

    status: Obj | None
    condition: Condition


@dataclass(frozen=True)
class Watched:
    """Whose backups are looked at. `known`: the name under which a failure is remembered; `newest`, `damaged`: as the
    status says.

    `born`: since when there should be backups.
    """

    known: str
    namespace: str
    cronjob: str
    newest: datetime | None
    damaged: Sequence[str]
    born: datetime | None


async def backup_facts(ctx: Context, tenant: ElinkTenant, namespace: str, owned: Sequence[Obj]) -> BackupFacts:
    """Of a tenant; a backup that was not restored on trial in time makes healthy ones doubtful."""
    facts = await stored_facts(
        ctx,
        Watched(
            tenant.name,
            namespace,
            naming.backup_cronjob(tenant.name),
            tenant.status.backup.newest,
            tenant.status.backup.damaged,
            tenant.metadata.creation_timestamp,
        ),
        owned,
    )
    if facts.condition.status == "True":
        return BackupFacts(facts.status, drill_doubts(ctx, tenant) or facts.condition)
    return facts


async def server_backup_facts(ctx: Context, server: ElinkServer) -> BackupFacts:
    """Of a server's own data."""
    watched = Watched(
        f"server/{server.name}",
        naming.server_namespace(server.name),
        naming.SERVER_BACKUP,
        server.status.backup.newest,
        server.status.backup.damaged,
        server.metadata.creation_timestamp,
    )
    return await stored_facts(ctx, watched, ctx.store.by_server_alone(server.name))


async def stored_facts(ctx: Context, watched: Watched, owned: Sequence[Obj]) -> BackupFacts:
    """Read the report of a Job that is newer than what the status says; else only judge the age."""
    jobs = observe.backup_jobs(owned)
    newest = watched.newest
    failed = await _failure(ctx, watched, jobs)
    # The last Job knows the store best, also when it failed.
    summary = failed.store if failed else None
    if summary is None:
        summary = await _report(ctx, watched, observe.newest_success(jobs))
    if summary is not None:
        newest = conditions.parse_timestamp(summary.newest) if summary.newest else None
    cronjob = next((o for o in owned if o["kind"] == "CronJob" and o["metadata"]["name"] == watched.cronjob), None)
    now = ctx.clock()
    condition = observe.backup_condition(
        jobs,
        cronjob,
        newest=newest,
        created=watched.born or now,
        now=now,
        failure=failed.why if failed else None,
        damaged=watched.damaged if summary is None else summary.damaged,
    )
    if summary is None:
        return BackupFacts(None, condition)
    status: Obj = {
        "generations": summary.generations,
        "newest": summary.newest,
        "bytes": summary.bytes,
        "damaged": list(summary.damaged),
    }
    if summary.verified_at:
        status["verifiedAt"] = summary.verified_at
    return BackupFacts(status, condition)


async def _report(ctx: Context, watched: Watched, job: Mapping[str, Any] | None) -> observe.BackupSummary | None:
    """The report of a Job that started after the newest generation that is known; None when there is no news."""
    if job is None:
        return None
    started = job.get("status", {}).get("startTime")
    # One that a clock which ran ahead has dated in the future keeps no later report away.
    latest = ctx.clock() + observe.CLOCKS_DIFFER
    if started and watched.newest is not None and conditions.parse_timestamp(started) <= watched.newest <= latest:
        return None
    message = observe.termination_message(await _pods(ctx, watched, job))
    return None if message is None else observe.parse_backup_summary(message)


async def _failure(ctx: Context, watched: Watched, jobs: Sequence[Mapping[str, Any]]) -> observe.BackupReport | None:
    """What the newest Job said when it failed; read once per Job."""
    failed = [job for job in jobs if observe.job_state(job) == "failed"]
    if not failed or failed[-1] is not next((j for j in reversed(jobs) if observe.job_state(j) != "running"), None):
        ctx.memory.backup_failures.pop(watched.known, None)
        return None
    uid = str(failed[-1]["metadata"]["uid"])
    known = ctx.memory.backup_failures.get(watched.known)
    if known is None or known[0] != uid:
        message = observe.termination_message(await _pods(ctx, watched, failed[-1]), failed=True)
        said = observe.parse_backup_failure(message or "")
        why = said or observe.BackupFailure("BackupFailed", observe.job_failure(failed[-1]))
        known = uid, observe.BackupReport(why, observe.parse_backup_summary(message or ""))
        ctx.memory.backup_failures[watched.known] = known
    return known[1]


async def _pods(ctx: Context, watched: Watched, job: Mapping[str, Any]) -> list[Obj]:
    return await pods_of(ctx, watched.namespace, str(job["metadata"]["name"]), labels.BACKUP)
