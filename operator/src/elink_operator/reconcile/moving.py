"""Whether a tenant has to move: a change of its plan or server becomes an ElinkRestore of mode Move."""

from contextlib import suppress

from elink_operator import conditions, labels, naming, placement
from elink_operator.api import ElinkRestore, ElinkTenant
from elink_operator.api.admission import may_move, named_server
from elink_operator.api.tenant import Plan
from elink_operator.cluster.errors import Conflict
from elink_operator.cluster.kinds import RESTORE, SERVER
from elink_operator.conditions import Condition
from elink_operator.desired.own_restores import build_move
from elink_operator.reconcile.context import Context
from elink_operator.reconcile.placing import Home, candidates, wish_of


async def ask_for_move(ctx: Context, tenant: ElinkTenant, home: Home) -> Condition | None:
    """Make, keep or call off the move that the spec asks for; no API call when there is nothing to do.

    Returns ServerReady False while the tenant is not where its spec wants it: it goes on where it is.
    """
    move = ctx.world.moving(tenant.name)
    target = _target(ctx, tenant, home, move)
    if isinstance(target, Condition):
        return target
    if move is not None:
        return await _under_way(ctx, move, home, target or home.server)
    if target is None:
        await _remove_unused_server(ctx, tenant, home)
        return None
    name = naming.move(tenant.name, tenant.metadata.generation)
    earlier = ctx.world.restores.get(name)
    if earlier is not None:
        return _no(
            "MoveFailed",
            f"the move to server {target} failed and the tenant goes on on {home.server}; 'kubectl get er {name}' says "
            "why: delete that to try again, or set spec.plan and spec.server back",
        )
    if not may_move(tenant):
        return _no(
            "MoveNotAsked",
            f"the spec wants server {target} but the tenant lives on {home.server}: set the annotation "
            f'{labels.MOVE}: "true" to move its data, or set spec.plan and spec.server back',
        )
    with suppress(Conflict):
        await ctx.client.create(RESTORE, build_move(tenant, target))
    return _moving(name, target)


async def _under_way(ctx: Context, move: ElinkRestore, home: Home, wanted: str) -> Condition | None:
    """A move that is no longer wanted is called off as long as the tenant lives where it was."""
    to = move.spec.move.server if move.spec.move is not None else ""
    if move.finished or home.server == to:
        return None
    if to == wanted:
        return _moving(move.name, to)
    if not move.deleting:
        await ctx.client.delete(RESTORE, move.name, uid=move.metadata.uid)
    return _no("MoveCalledOff", f"the move to server {to} is being undone; 'kubectl get er {move.name}' says how far")


def _target(ctx: Context, tenant: ElinkTenant, home: Home, move: ElinkRestore | None) -> str | Condition | None:
    """Where the tenant has to move to; None when it is at home, a condition when no server fits."""
    wanted = named_server(tenant)
    if wanted is not None:
        return None if wanted == home.server else wanted
    server = ctx.world.servers.get(home.server)
    if server is None or not tenant.owns(server):
        return None
    if move is not None and move.spec.move is not None and not move.finished:
        return move.spec.move.server
    choice = placement.choose(wish_of(ctx, tenant), candidates(ctx))
    return _no(choice.reason, choice.message) if isinstance(choice, placement.Unplaced) else choice.server


def _moving(name: str, target: str) -> Condition:
    return _no("Moving", f"the tenant is being moved to server {target}; 'kubectl get er {name}' says how far it is")


def _no(reason: str, message: str) -> Condition:
    return conditions.false(conditions.SERVER_READY, reason, message)


async def _remove_unused_server(ctx: Context, tenant: ElinkTenant, home: Home) -> None:
    """The own server that a called-off move had begun to make."""
    own = ctx.world.servers.get(tenant.name)
    if tenant.spec.plan is Plan.DEDICATED or own is None or own.name == home.server or own.deleting:
        return
    if tenant.owns(own):
        await ctx.client.delete(SERVER, own.name, uid=own.metadata.uid)
