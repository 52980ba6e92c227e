"""Looking into a server's PostgreSQL from time to time: is it alive, is everything there, are spares ready."""

from datetime import timedelta

from elink_operator import naming
from elink_operator.api import ElinkServer
from elink_operator.api.server import Tenancy
from elink_operator.database import DatabaseError, ServerDb
from elink_operator.reconcile.context import Context

_EVERY = timedelta(seconds=50)
_SPARES_AT_ONCE = 2


async def compare_databases(ctx: Context, server: ElinkServer, row: ServerDb, version: str) -> bool:
    """Read what exists, at most once a minute, and wake the tenants that lack something or were changed by hand.

    Returns True when the template lost its migration (PostgreSQL was restored or replaced): it must run again.
    Raises DatabaseError when PostgreSQL does not answer.
    """
    now = ctx.clock()
    last = ctx.memory.looked.get(server.name)
    if last is not None and now - last < _EVERY:
        return False
    snapshot = await ctx.databases.snapshot(row)
    ctx.memory.looked[server.name] = now
    for tenant in ctx.world.residents(server.name):
        database, role = naming.tenant_database(tenant.name), naming.tenant_role(tenant.name)
        complete = snapshot.serves(tenant.name, database, role)
        if not complete and tenant.status.server == server.name and not tenant.deleting:
            ctx.wake("tenant", tenant.name)
    if server.status.migration != naming.migrate_job(version, ctx.settings.template_revision):
        return False
    template = snapshot.databases.get(naming.TEMPLATE_DATABASE)
    return template is None or not template.marker.endswith(f" {server.status.migration}")


async def fill_spares(ctx: Context, server: ElinkServer, row: ServerDb) -> None:
    """Make a spare database or two while nobody waits for PostgreSQL; a failure is no reason to fail."""
    if server.spec.tenancy is not Tenancy.SHARED or server.spec.cordoned:
        return
    for _ in range(_SPARES_AT_ONCE):
        if ctx.memory.creating[server.name]:
            return
        try:
            if not await ctx.databases.fill_spares(row, ctx.settings.spare_databases):
                return
        except DatabaseError:
            return
