"""Restores on trial: each tenant's newest backup once per period, a few at a time, outside the hours of backups."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import structlog

from elink_operator import conditions, labels, observe, schedule
from elink_operator.api import ElinkRestore, ElinkServer, ElinkTenant
from elink_operator.api.restore import Mode, RestorePhase
from elink_operator.cluster.errors import Conflict, Forbidden, Invalid, NotFound
from elink_operator.cluster.kinds import RESTORE
from elink_operator.conditions import Condition
from elink_operator.desired.own_restores import build_drill
from elink_operator.reconcile.context import Context

log = structlog.get_logger()

_AFTER_A_FAILURE = timedelta(days=1)
_PERIOD_SHARE = 0.9
"""Of the time within which each tenant has its turn: the rest is for waiting, closed hours and a second try."""


async def begin_drill(ctx: Context, server: ElinkServer) -> None:
    """Begin the most overdue drill of a server, if one is due and nothing speaks against it."""
    now, settings = ctx.clock(), ctx.settings
    if not settings.drill_days or schedule.in_backup_window(now, settings.time_zone):
        return
    async with ctx.memory.drills:
        running = [r for r in ctx.world.restores.values() if r.spec.mode is Mode.DRILL and not r.finished]
        here = [r for r in running if _server_of(ctx, r.spec.tenant) == server.name]
        if len(running) >= settings.drills_at_once or len(here) >= settings.drills_per_server:
            return
        due = [t for t in ctx.world.residents(server.name) if _is_due(ctx, t, now) and _may_be_drilled(ctx, server, t)]
        if not due:
            return
        chosen = min(due, key=lambda tenant: (_last_look(tenant, now), tenant.name))
        date = now.astimezone(ZoneInfo(settings.time_zone)).strftime("%Y%m%d")
        try:
            await ctx.client.create(RESTORE, build_drill(chosen.name, date))
        except (Conflict, Forbidden):
            # There was one today, or the tenant is on its way out: tomorrow is another day.
            return
        except (Invalid, NotFound) as error:
            # The CRD is being deleted, is gone or too old: no fault of the server. In the end DrillOverdue tells of it.
            log.warning("a drill cannot be made", tenant=chosen.name, error=str(error))


async def forget_drills(ctx: Context, server: ElinkServer) -> None:
    """Remove what newer drills of a server's tenants have made stale."""
    for tenant in ctx.world.residents(server.name):
        for old in stale(ctx.world.restores_of(tenant.name)):
            await ctx.client.delete(RESTORE, old.name, uid=old.metadata.uid)


def stale(restores: Iterable[ElinkRestore]) -> Iterator[ElinkRestore]:
    """Finished drills of the operator's but the newest, and the newest that succeeded."""
    made = [r for r in restores if r.finished and r.spec.mode is Mode.DRILL and labels.DRILL in r.metadata.labels]
    newest_first = sorted(made, key=lambda r: (str(r.status.finished_at), r.name), reverse=True)
    proven = next((r for r in newest_first if r.status.phase is RestorePhase.SUCCEEDED), None)
    for drill in newest_first[1:]:
        if drill is not proven and not drill.deleting:
            yield drill


def drill_doubts(ctx: Context, tenant: ElinkTenant) -> Condition | None:
    """Why a recent backup is no proof: its restore failed on trial, or was not tried for too long."""
    days, drill = ctx.settings.drill_days, tenant.status.restore_drill
    if not days:
        return None
    if drill is not None and drill.result == "Failed":
        return conditions.false(
            conditions.BACKUP_HEALTHY,
            "DrillFailed",
            f"the newest backup was restored on trial and that failed: {drill.message}; see 'kubectl get er "
            f"{drill.restore} -o yaml' and runbook ElinkRestoreDrillFailed",
        )
    proven = (drill.proven_at if drill is not None else None) or tenant.metadata.creation_timestamp
    if proven is not None and ctx.clock() - proven > timedelta(days=days):
        return conditions.false(
            conditions.BACKUP_HEALTHY,
            "DrillOverdue",
            f"no backup of the tenant was restored on trial within {days} days; see runbook ElinkRestoreDrillOverdue",
        )
    return None


def _server_of(ctx: Context, tenant: str) -> str:
    known = ctx.world.tenants.get(tenant)
    return known.status.server if known is not None else ""


def _may_be_drilled(ctx: Context, server: ElinkServer, tenant: ElinkTenant) -> bool:
    jobs = observe.backup_jobs(ctx.store.by_tenant(tenant.name))
    return (
        tenant.status.server == server.name
        and not tenant.deleting
        and tenant.status.backup.generations > 0
        and tenant.status.database_lost_at is None
        and all(restore.finished for restore in ctx.world.restores_of(tenant.name))
        and not any(observe.job_state(job) == "running" for job in jobs)
    )


def _is_due(ctx: Context, tenant: ElinkTenant, now: datetime) -> bool:
    drill = tenant.status.restore_drill
    if drill is not None and drill.result == "Failed" and drill.at is not None:
        return now - drill.at > _AFTER_A_FAILURE
    period = timedelta(days=ctx.settings.drill_days) * _PERIOD_SHARE
    return _last_look(tenant, now) < schedule.drill_slot(tenant.name, period, now)


def _last_look(tenant: ElinkTenant, now: datetime) -> datetime:
    """When the tenant was last drilled; a new one waits for its first turn."""
    drill = tenant.status.restore_drill
    return (drill.at if drill is not None else None) or tenant.metadata.creation_timestamp or now
