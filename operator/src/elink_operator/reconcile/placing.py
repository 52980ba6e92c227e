"""Deciding once where a tenant lives, and remembering it before anything is made there."""

from collections import Counter
from dataclasses import dataclass

from elink_operator import conditions, labels, naming, placement
from elink_operator.api import ElinkServer, ElinkTenant
from elink_operator.api.admission_size import change_the_tenant
from elink_operator.api.meta import is_true
from elink_operator.api.server import Size, Tenancy
from elink_operator.api.tenant import Plan
from elink_operator.cluster.apply import applied_hash, is_subset
from elink_operator.cluster.kinds import SERVER, TENANT, Obj
from elink_operator.desired.server import build_dedicated_server
from elink_operator.reconcile.context import Context
from elink_operator.reconcile.errors import Waiting
from elink_operator.reconcile.status import ensure_finalizer

_RETRY_SECONDS = 30.0


@dataclass(frozen=True)
class Home:
    """Where a tenant lives and the sentence that says why."""

    server: str
    reason: str


async def settle(ctx: Context, tenant: ElinkTenant) -> Home:
    """The tenant's server: where it is already, its own, or a chosen one.

    The choice is written with the finalizer, in one request and before anything exists on that server, so that a
    killed operator never places a tenant twice. Raises Waiting when no server fits.
    """
    known = home_of(tenant)
    if known is not None:
        await ensure_finalizer(ctx, TENANT, tenant.name)
        ctx.memory.reserved.pop(tenant.name, None)
        return known
    # A choice that could not be written (the tenant changed meanwhile) must not take the place from itself.
    ctx.memory.reserved.pop(tenant.name, None)
    if tenant.spec.plan is Plan.DEDICATED:
        home = Home(tenant.name, "a dedicated server of its own")
    else:
        choice = placement.choose(wish_of(ctx, tenant), candidates(ctx))
        if isinstance(choice, placement.Unplaced):
            await ensure_finalizer(ctx, TENANT, tenant.name)
            raise Waiting(choice.reason, choice.message, retry_after=_RETRY_SECONDS)
        home = Home(choice.server, choice.reason)
    # No await between the choice and this line: two workers never give the last place away twice.
    ctx.memory.reserved[tenant.name] = home.server
    await ensure_finalizer(ctx, TENANT, tenant.name, {labels.PLACED_ON: home.server, labels.PLACED_WHY: home.reason})
    return home


def home_of(tenant: ElinkTenant) -> Home | None:
    """The decision that was already made, or None."""
    if tenant.status.server:
        return Home(tenant.status.server, tenant.status.server_reason)
    noted = tenant.metadata.annotations.get(labels.PLACED_ON)
    if noted and naming.is_valid_name(noted):
        return Home(noted, tenant.metadata.annotations.get(labels.PLACED_WHY, ""))
    return None


def lives_on(tenant: ElinkTenant, server: str) -> bool:
    """Whether a resident of a server has its home there: who moves from or to it is a resident too."""
    home = home_of(tenant)
    return home is None or home.server == server


def wish_of(ctx: Context, tenant: ElinkTenant) -> placement.Wish:
    """What the tenant asks of a server."""
    return placement.Wish(region=ctx.world.region(tenant.spec), pin=tenant.spec.server or "")


def candidates(ctx: Context) -> list[placement.Candidate]:
    """Every server, with the tenants that live there or are on their way."""
    homes = dict(ctx.memory.reserved)
    for tenant in ctx.world.tenants.values():
        home = home_of(tenant)
        if home is not None:
            homes[tenant.name] = home.server
    homes |= {unread.name: unread.server for unread in ctx.world.unread.values() if unread.is_tenant and unread.server}
    counts: Counter[str] = Counter(homes.values())
    counts.update(m.spec.move.server for m in ctx.world.restores.values() if m.moves and m.spec.move and not m.finished)
    return [
        placement.Candidate(
            name=server.name,
            shared=server.spec.tenancy is Tenancy.SHARED,
            region=ctx.world.region(server.spec),
            cordoned=server.spec.cordoned,
            deleting=server.deleting,
            ready=is_ready(server),
            tenants=counts.get(server.name, 0),
            max_tenants=server.spec.capacity,
        )
        for server in ctx.world.servers.values()
    ]


def is_ready(server: ElinkServer) -> bool:
    """The server's condition Ready."""
    return is_true(server.status.conditions, conditions.READY)


async def own_server(ctx: Context, tenant: ElinkTenant) -> None:
    """Make or update the server of a Dedicated tenant; refuses a name that belongs to somebody else."""
    if (SERVER.kind, tenant.name) in ctx.world.unread:
        raise Waiting(
            "ServerNotReadable",
            f"ElinkServer {tenant.name} cannot be read by this operator, so nobody knows whose it is: correct it",
            retry_after=60,
        )
    present = ctx.world.servers.get(tenant.name)
    if present is not None and not tenant.owns(present):
        raise Waiting(
            "ServerNameTaken",
            f"an ElinkServer named {tenant.name} exists and is not this tenant's: remove it, or delete this tenant "
            "and create it under another name",
            retry_after=60,
        )
    wanted = build_dedicated_server(tenant, ctx.settings.default_region)
    before = ctx.store.get(SERVER, None, tenant.name)
    await ctx.applier.apply_if_changed(SERVER, wanted)
    if before is not None and (parts := _changed_by_hand(wanted, before)):
        message = f"{change_the_tenant(tenant, parts)}; what was changed at the server is put back"
        await ctx.client.event(before, type_="Warning", reason="SizePutBack", message=message)
    if tenant.status.observed_generation != tenant.metadata.generation:
        # The tenant's state is not part of the server's spec, but stops or starts its worker.
        ctx.wake("server", tenant.name)


def _changed_by_hand(wanted: Obj, live: Obj) -> list[str]:
    """The parts of a server's size that are not what the operator wrote last."""
    if (live["metadata"].get("annotations") or {}).get(labels.APPLIED_HASH) != applied_hash(wanted):
        return []
    return [part for part in Size.model_fields if not is_subset(wanted["spec"].get(part), live["spec"].get(part))]
