"""解約: a cancelled tenant is erased when its grace time is over, never later; until then it can be undone."""

from datetime import datetime, timedelta

from elink_operator import conditions
from elink_operator.api import ElinkTenant
from elink_operator.api.tenant import State
from elink_operator.cluster.kinds import TENANT, Obj
from elink_operator.jst import jst
from elink_operator.reconcile import letters
from elink_operator.reconcile.clock import clock_is_trusted
from elink_operator.reconcile.context import Context

_LONGEST_LOOK = 3600.0


def fields(ctx: Context, tenant: ElinkTenant) -> Obj:
    """`cancelledAt` and `eraseAfter` of the status; both None when the tenant is not cancelled."""
    if tenant.spec.state is not State.CANCELLED:
        return {"cancelledAt": None, "eraseAfter": None}
    since, until = dates(tenant, ctx.clock(), ctx.settings.erasure_grace_days)
    return {"cancelledAt": conditions.timestamp(since), "eraseAfter": conditions.timestamp(until)}


def dates(tenant: ElinkTenant, now: datetime, grace_days: int) -> tuple[datetime, datetime]:
    """When the tenant was cancelled, and when its erasure begins: days of 24 hours later, to the second.

    In Japan, which has no summer time, that is the same time of day. A date that was promised is never put off,
    whatever the setting says later.
    """
    since = tenant.status.cancelled_at or now.replace(microsecond=0)
    due = since + timedelta(days=grace_days)
    promised = tenant.status.erase_after
    return since, due if promised is None else min(due, promised)


def seconds_left(ctx: Context, tenant: ElinkTenant) -> float | None:
    """When to look at a cancelled tenant again; None for others."""
    if tenant.spec.state is not State.CANCELLED:
        return None
    now = ctx.clock()
    left = (dates(tenant, now, ctx.settings.erasure_grace_days)[1] - now).total_seconds()
    return min(max(left, 1.0), _LONGEST_LOOK)


async def delete_when_due(ctx: Context, tenant: ElinkTenant) -> bool:
    """Delete the resource when the grace time of a cancelled tenant is over; the finalizer then erases."""
    if tenant.spec.state is not State.CANCELLED or tenant.status.erase_after is None:
        return False
    if ctx.clock() < tenant.status.erase_after or not clock_is_trusted(ctx):
        return False
    await ctx.client.delete(TENANT, tenant.name, uid=tenant.metadata.uid)
    return True


async def tell(ctx: Context, tenant: ElinkTenant, status: Obj) -> None:
    """An Event when a tenant was cancelled, or its cancellation undone; letters to the contacts follow it."""
    live = ctx.store.get(TENANT, None, tenant.name)
    if live is None or (tenant.status.erase_after is None) == (status["eraseAfter"] is None):
        return
    untold = "" if ctx.settings.mail_from else letters.NOT_CONFIGURED
    if status["eraseAfter"] is not None:
        until = jst(conditions.parse_timestamp(status["eraseAfter"]))
        message = f"cancelled: everything is erased after {until}; until then spec.state Active undoes it"
        await ctx.client.event(live, type_="Normal", reason="Cancelled", message=message + untold)
    else:
        message = "the cancellation was undone, nothing was erased"
        await ctx.client.event(live, type_="Normal", reason="CancellationUndone", message=message + untold)
