"""A tenant's database that vanished: nothing is made in its place until a person says so."""

from typing import Final

from elink_operator import conditions, labels, naming
from elink_operator.api import ElinkTenant
from elink_operator.api.meta import is_true
from elink_operator.cluster.kinds import TENANT, Obj
from elink_operator.conditions import Condition
from elink_operator.desired import change
from elink_operator.reconcile import changes
from elink_operator.reconcile.context import Context

NEXT_LOOK: Final = 60.0
"""Seconds; the server's comparison and a change of the annotation wake the tenant too."""


def had_data(tenant: ElinkTenant) -> bool:
    """Whether the tenant ever had a complete database, as its status says."""
    status = tenant.status
    return (
        status.observed_generation > 0
        or status.database_lost_at is not None
        or is_true(status.conditions, conditions.DATABASE_READY)
    )


def may_make(tenant: ElinkTenant) -> bool:
    """Whether an empty database may be made: there never was one, or this very loss was answered by a person."""
    if not had_data(tenant):
        return True
    lost_at = tenant.status.database_lost_at
    answer = tenant.metadata.annotations.get(labels.RECREATE_DATABASE)
    return lost_at is not None and answer == conditions.timestamp(lost_at)


def condition(tenant: ElinkTenant) -> Condition:
    """What happened, and what a person can do."""
    name = tenant.name
    return conditions.false(
        conditions.DATABASE_READY,
        "DatabaseLost",
        f"database {naming.tenant_database(name)} with the customer's data is gone, and no empty one is made in its "
        "place before a person decides. Find out what happened (dropped, renamed, another PostgreSQL or volume behind "
        "the server?) and bring it back; or restore the newest backup (ElinkRestore, mode InPlace); or have an empty "
        "one made: "
        f"kubectl annotate et {name} --overwrite {labels.RECREATE_DATABASE}="
        f'"$(kubectl get et {name} -o jsonpath={{.status.databaseLostAt}})"; see runbook ElinkTenantDatabaseLost',
    )


def fields(ctx: Context, tenant: ElinkTenant, *, lost: bool, settled: bool) -> Obj:
    """`databaseLostAt` of the status: the first sight of a loss, None when there is a database, else as it is."""
    if lost:
        return {"databaseLostAt": conditions.timestamp(tenant.status.database_lost_at or ctx.clock())}
    return {"databaseLostAt": None} if settled else {}


async def tell_of_an_empty_one(ctx: Context, tenant: ElinkTenant) -> None:
    """An Event: the service goes on without the customer's data, as a person asked."""
    live = ctx.store.get(TENANT, None, tenant.name)
    if live is not None:
        message = (
            f"database {naming.tenant_database(tenant.name)} was made anew, empty, as annotation "
            f"{labels.RECREATE_DATABASE} asks; restore the newest backup before its users fill it"
        )
        await ctx.client.event(live, type_="Warning", reason=change.DATABASE_RECREATED, message=message)
        asked = naming.digest(live["metadata"].get("annotations", {}).get(labels.RECREATE_DATABASE, ""))
        key = f"recreated-{asked}"
        await changes.note(ctx, TENANT, tenant.name, what=change.DATABASE_RECREATED, key=key, summary=message)
