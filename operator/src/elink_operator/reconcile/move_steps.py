"""What a move does beyond a restore: a place on the other server, the change of home, and no trace on the old one."""

from collections.abc import Awaitable

from elink_operator import labels, naming
from elink_operator.api import ElinkServer, ElinkTenant
from elink_operator.api.admission import is_to_be_erased
from elink_operator.cluster.errors import NotFound
from elink_operator.cluster.kinds import JOB, SECRET, TENANT, Kind, Obj
from elink_operator.desired.secret import build_tenant_secret
from elink_operator.desired.store import reachable_from
from elink_operator.desired.vault import of_tenant
from elink_operator.reconcile import erase_steps, restore_steps
from elink_operator.reconcile.backup_bucket import ensure_bucket
from elink_operator.reconcile.backup_key import ensure_key
from elink_operator.reconcile.erase_case import Case as Erasure
from elink_operator.reconcile.erase_case import Evidence, Hold
from elink_operator.reconcile.errors import Waiting
from elink_operator.reconcile.evidence import left_servers
from elink_operator.reconcile.forgetting import forget_in_server_backups, remove_evidence
from elink_operator.reconcile.placing import Home, home_of, is_ready
from elink_operator.reconcile.restore_case import Case, RestoreFailed
from elink_operator.reconcile.status import ensure_finalizer, write_status


async def prepare_target(case: Case) -> Obj:
    """The target is up and has what the Jobs need; the customer works on meanwhile."""
    tenant, ctx = case.live_source(), case.ctx
    home, target = home_of(tenant), _target(case)
    if home is None:
        raise RestoreFailed("NeverPlaced", f"tenant {tenant.name} lives nowhere yet")
    if not reachable_from(ctx.settings, home.server, target):
        raise RestoreFailed(
            "StoreNotReachable",
            f"the backups of tenant {tenant.name} are on a volume of server {home.server}, which a pod on server "
            f"{target} cannot mount: a move needs an S3 store (docs/backup-store.md)",
        )
    server = ctx.world.servers.get(target)
    if server is None or not is_ready(server):
        raise Waiting("TargetNotReady", f"server {target} is waited for; the tenant works on server {home.server}")
    place = await case.place()
    vault = of_tenant(place.inputs.target)
    backed_up = tenant.status.backup.any
    for missing in (await ensure_key(ctx, vault, backed_up=backed_up), await ensure_bucket(ctx, vault)):
        if missing is not None:
            raise RestoreFailed(missing.reason, missing.message)
    await ctx.applier.apply_if_changed(SECRET, build_tenant_secret(place.inputs.target))
    return {"sourceServer": home.server}


async def move_home(case: Case) -> Obj:
    """From now on the tenant lives on the target: the tenant's own reconcile makes route, row and schedule there."""
    await _settle_home(case)
    return {}


async def verify(case: Case) -> Obj:
    """The tenant is served from the target. A run of the tenant that began before may have put things back once."""
    await _settle_home(case)
    if case.target is not None and is_to_be_erased(case.target):
        await _is_erased_at_home(case)
        return {}  # It is never Ready again, and its erasure waits for this move's end.
    return await restore_steps.verify(case)


async def _is_erased_at_home(case: Case) -> None:
    """The erasure has begun, so that no earlier run of the tenant writes any more, and will look at the new home."""
    live = ElinkTenant.parse(await case.ctx.client.get(TENANT, case.restore.target))
    if live.status.erasure is None or live.status.server != _target(case):
        raise Waiting("MovingHome", "the tenant's erasure begins on its new server", retry_after=1)


async def remove_source(case: Case) -> Obj:
    """Nothing of the tenant is left on the server that it left; its backups go with it and are not touched.

    Nor is the (empty) folder left that the switch kept on the new server: it would be in the way of a restore there.
    """
    if case.target is not None and not is_to_be_erased(case.target):
        place = await case.place()
        await restore_steps.files_done(case, place, "clear-kept", "RemovingOldData", lasting=True)
    server = case.ctx.world.servers.get(case.restore.status.source_server)
    if server is None:
        return {}
    await _remove_from(case, server, copies=True)
    if case.target is not None and case.target.owns(server):
        await _hold_is_waiting(erase_steps.remove_server(_erasure(case, server)))
    return {}


async def remove_target(case: Case) -> Obj:
    """Nothing of the tenant is left on the target; it works on where it was."""
    server = case.ctx.world.servers.get(_target(case))
    if server is None:
        return {}
    if case.restore.status.maintenance_at is not None:
        place = await case.place()
        await restore_steps.stop_job(case, place, f"read-{max(1, case.restore.status.attempt)}")
        await _remove_from(case, server)
    else:
        await _remove_secrets(case, naming.server_namespace(server.name))
    case.ctx.wake("tenant", case.restore.target)
    return {}


async def _settle_home(case: Case) -> None:
    tenant, ctx, target = case.target, case.ctx, _target(case)
    if tenant is None:
        return
    why = f"moved from server {case.restore.status.source_server} by {case.restore.name}"
    await ensure_finalizer(ctx, TENANT, tenant.name, {labels.PLACED_ON: target, labels.PLACED_WHY: why})
    await write_status(ctx, TENANT, tenant.name, {"server": target, "serverReason": why})
    source = ctx.world.servers.get(case.restore.status.source_server)
    if source is not None:
        # Of two routes with one host the gateway follows the older one.
        await _hold_is_waiting(erase_steps.remove_route(_erasure(case, source)))
    ctx.wake("server", target)
    now = ctx.world.tenants.get(tenant.name)
    if now is None or (home := home_of(now)) is None or home.server != target:
        raise Waiting("MovingHome", f"the tenant is being registered on server {target}", retry_after=1)


async def _remove_from(case: Case, server: ElinkServer, *, copies: bool = False) -> None:
    """Route, schedule, database, role, registry row, directory, journal lines and Secrets on one of the servers."""
    erasure = _erasure(case, server)
    await _note_left(case, erasure.tenant, server.name)
    for step in (
        erase_steps.remove_route,
        erase_steps.remove_backup_schedule,
        erase_steps.drop_database,
        erase_steps.remove_files,
    ):
        await _hold_is_waiting(step(erasure))
    if copies:  # of the registry and the journals; a target from which a move came back was in neither
        await _hold_is_waiting(forget_in_server_backups(erasure))
    await _remove_secrets(case, erasure.namespace)
    await _hold_is_waiting(erase_steps.clear_residue(erasure))
    # Last, or they would run again: they are no evidence for an erasure after the tenant has come back here.
    await case.ctx.client.delete(JOB, naming.erase_job(case.restore.target), namespace=erasure.namespace)
    await remove_evidence(erasure)


async def _note_left(case: Case, tenant: ElinkTenant, server: str) -> None:
    """For the record of the tenant's erasure: PostgreSQL may keep names there that nobody can take out now."""
    left = left_servers(tenant)
    if server not in left:
        await ensure_finalizer(case.ctx, TENANT, tenant.name, {labels.LEFT: ",".join([*left, server])})


async def _remove_secrets(case: Case, namespace: str) -> None:
    tenant = case.restore.target
    for name in (naming.tenant_secret(tenant), naming.backup_key_copy(tenant), naming.backup_store_secret(tenant)):
        await _gone(case, SECRET, namespace, name)


async def _gone(case: Case, kind: Kind, namespace: str, name: str) -> None:
    client = case.ctx.client
    try:
        live = await client.get(kind, name, namespace)
    except NotFound:
        return
    await client.delete(kind, name, namespace=namespace, uid=live["metadata"]["uid"])
    raise Waiting("Removing", f"{kind} {namespace}/{name} is being removed", retry_after=1)


async def _hold_is_waiting(step: Awaitable[Evidence]) -> None:
    """A step of an erasure as a step of a move: what holds the one is waited for by the other."""
    try:
        await step
    except Hold as hold:
        raise Waiting(hold.reason, str(hold), retry_after=hold.retry_after) from None


def _erasure(case: Case, server: ElinkServer) -> Erasure:
    if case.target is None:
        raise Waiting("TenantMissing", f"tenant {case.restore.target} is gone")
    return Erasure(case.ctx, case.target, Home(server.name, ""), server, asked_by=case.restore.metadata.uid)


def _target(case: Case) -> str:
    return case.restore.spec.move.server if case.restore.spec.move is not None else ""
