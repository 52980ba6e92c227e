"""Deleting an ElinkServer: only without tenants, and only gone when namespace and volumes are."""

from elink_operator import conditions, naming
from elink_operator.api import ElinkServer, ElinkTenant
from elink_operator.api.admission import is_to_be_erased
from elink_operator.cluster.errors import NotFound
from elink_operator.cluster.kinds import NAMESPACE, PV, SERVER
from elink_operator.desired import change
from elink_operator.reconcile import changes
from elink_operator.reconcile.context import Context, Outcome
from elink_operator.reconcile.placing import lives_on
from elink_operator.reconcile.server_backup import server_backups_left, store_is_unknown
from elink_operator.reconcile.status import conditions_of, remove_finalizer, write_status

_LOOK_SECONDS = 5.0


async def tear_down(server: ElinkServer, ctx: Context) -> Outcome:
    """One step towards removal; the finalizer goes when nothing is left."""
    remaining = await remove_server(ctx, server)
    if remaining:
        ready = conditions.false(conditions.READY, "Deleting", remaining)
        merged = conditions_of(ctx, SERVER, server.name, server.metadata.generation, [ready])
        await write_status(ctx, SERVER, server.name, {"conditions": merged})
        return Outcome(_LOOK_SECONDS)
    await forget_server(ctx, server.name)
    summary = "namespace, volumes and the backups of its own data are gone"
    await changes.note(ctx, SERVER, server.name, what=change.REMOVED, key="removed", summary=summary)
    changes.forget(ctx, server.metadata.uid)
    await remove_finalizer(ctx, SERVER, server.name)
    return Outcome()


async def remove_server(ctx: Context, server: ElinkServer) -> str:
    """Remove namespace, volumes and the server's own backups; returns what is still there, empty when nothing is."""
    unread = [u.name for u in ctx.world.unread_residents(server.name)]
    if unread:
        return (
            f"tenants that this operator cannot read may live here ({', '.join(unread[:5])}): correct or erase them "
            "first; the server is removed after the last one"
        )
    needing = [t for t in ctx.world.residents(server.name) if _needs_the_server(t, server)]
    residents = [t.name for t in needing]
    if needing and not any(lives_on(t, server.name) for t in needing):
        return (
            f"data of tenants that moved away is still here ({', '.join(residents[:5])}): the server is removed after "
            "their moves in 'kubectl get er' are at step Done"
        )
    if residents:
        return (
            f"tenants still live here ({', '.join(residents[:5])}): cancel and delete them first; "
            "the server is removed after the last one"
        )
    namespace = naming.server_namespace(server.name)
    return (
        store_is_unknown(ctx, server.name)
        or await namespace_left(ctx, namespace)
        or await volumes_left(ctx, namespace)
        or await server_backups_left(ctx, server.name)
    )


def _needs_the_server(tenant: ElinkTenant, server: ElinkServer) -> bool:
    """A Dedicated tenant that is being erased, or has moved away, asks for this very removal.

    One that is not goes on working: whoever deleted the server (with its CRD, past admission) did not confirm that.
    """
    if not server.metadata.controlled_by("ElinkTenant", tenant.name):
        return True
    return lives_on(tenant, server.name) and not is_to_be_erased(tenant)


async def namespace_left(ctx: Context, namespace: str) -> str:
    """Ask for the namespace's deletion; a sentence while it exists. Looks at the API server, not at the cache."""
    try:
        live = await ctx.client.get(NAMESPACE, namespace)
    except NotFound:
        return ""
    if not live["metadata"].get("deletionTimestamp"):
        await ctx.client.delete(NAMESPACE, namespace, uid=live["metadata"]["uid"])
    return f"namespace {namespace} and what is in it are being deleted; see 'kubectl get namespace {namespace} -o yaml'"


async def volumes_left(ctx: Context, namespace: str) -> str:
    """A sentence while a PersistentVolume of the namespace exists: its data would outlive the tenant."""
    volumes, _ = await ctx.client.list(PV)
    mine = [v for v in volumes if (v["spec"].get("claimRef") or {}).get("namespace") == namespace]
    if not mine:
        return ""
    kept = sorted(v["metadata"]["name"] for v in mine if v["spec"].get("persistentVolumeReclaimPolicy") == "Retain")
    if kept:
        return f"volumes {', '.join(kept)} keep their data (reclaim policy Retain): erase and delete them by hand"
    return f"volumes of namespace {namespace} are being deleted by their provisioner"


async def forget_server(ctx: Context, server: str) -> None:
    """Drop what this process remembers of a server that is gone."""
    ctx.memory.access.pop(server, None)
    ctx.memory.external.pop(server, None)
    ctx.memory.isolation.pop(server, None)
    ctx.memory.looked.pop(server, None)
    ctx.memory.forgetting.pop(server, None)
    ctx.memory.backup_failures.pop(f"server/{server}", None)
    await ctx.databases.forget(server)
