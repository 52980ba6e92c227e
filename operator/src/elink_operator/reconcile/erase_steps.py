"""What an erasure consists of. A step removes, looks again at the source, and raises Hold while anything is left."""

from elink_operator import conditions, labels, naming, observe
from elink_operator.api import ElinkServer, ElinkTenant
from elink_operator.api.admission import is_to_be_erased
from elink_operator.api.meta import find_condition
from elink_operator.api.raw import concerned
from elink_operator.api.tenant import ErasedStore
from elink_operator.cluster.errors import NotFound
from elink_operator.cluster.kinds import CRON_JOB, HTTP_ROUTE, JOB, POD, PV, RESTORE, SECRET, SERVER, Kind, Obj
from elink_operator.database import Census, ServerDb, TenantDb
from elink_operator.desired.inputs import Access, TenantInputs
from elink_operator.desired.job import build_erase_job
from elink_operator.desired.place import bucket_of
from elink_operator.desired.secret import TENANT_UID
from elink_operator.desired.store import on_volumes, own_accounts
from elink_operator.reconcile import jobs
from elink_operator.reconcile.access import find_access, lacking_access
from elink_operator.reconcile.backup_bucket import erase_bucket
from elink_operator.reconcile.erase_case import Case, Evidence, Hold, unreadable
from elink_operator.reconcile.evidence import (
    cleared,
    dropped,
    erased_bucket,
    erased_files,
    removed,
    with_the_server,
)
from elink_operator.reconcile.placing import lives_on
from elink_operator.reconcile.rows import server_row, tenant_row
from elink_operator.reconcile.server_backup import place_of, server_backups_left
from elink_operator.reconcile.teardown import forget_server, namespace_left, volumes_left


async def count_neighbours(case: Case) -> Evidence:
    """Count the rows of all other tenants of the server; nothing is removed before."""
    stop_if_harm_was_found(case)
    server_db, tenant_db = await _rows(case)
    census = await case.ctx.databases.census(server_db, tenant_db.database)
    case.neighbours, case.counted = census.rows, census.record()
    return Evidence(f"{len(census.databases)} other databases counted")


async def remove_route(case: Case) -> Evidence:
    """The host answers 404 from now on."""
    name = naming.tenant_route(case.tenant.name)
    was_there = await _remove(case, HTTP_ROUTE, name)
    return Evidence(f"HTTPRoute {name} removed", (removed("Route", f"{case.namespace}/{name}", was_there),))


async def remove_schedule(case: Case) -> Evidence:
    """Restores and the CronJob with whatever they started, running pods included."""
    await _remove_restores(case)
    return await remove_backup_schedule(case)


async def remove_backup_schedule(case: Case) -> Evidence:
    """The CronJob, and Jobs and pods of backups and restores on this server."""
    name = naming.backup_cronjob(case.tenant.name)
    was_there = await _remove(case, CRON_JOB, name)
    selector = f"{labels.TENANT}={case.tenant.name},{labels.COMPONENT} in ({labels.BACKUP},{labels.RESTORING})"
    found, _ = await case.ctx.client.list(JOB, namespace=case.namespace, label_selector=selector)
    for job in found:
        await case.ctx.client.delete(JOB, job["metadata"]["name"], namespace=case.namespace, uid=job["metadata"]["uid"])
    if found:
        raise Hold("backup Jobs are being removed", retry_after=1)
    pods, _ = await case.ctx.client.list(POD, namespace=case.namespace, label_selector=selector)
    if pods:
        raise Hold("pods of backup Jobs are ending", retry_after=2)
    store = removed("BackupSchedule", f"{case.namespace}/{name}", was_there)
    return Evidence(f"CronJob {name}, its Jobs and pods removed", (store,))


async def _remove_restores(case: Case) -> None:
    """No restore of the tenant's data, or into its place, is left: one that runs is undone first."""
    # As they are: one that does not parse must hold no other tenant's erasure.
    restores, _ = await case.ctx.client.list(RESTORE)
    mine = [restore["metadata"] for restore in restores if case.tenant.name in concerned(restore)]
    for metadata in mine:
        if not metadata.get("deletionTimestamp"):
            await case.ctx.client.delete(RESTORE, metadata["name"], uid=metadata["uid"])
    if mine:
        name = mine[0]["name"]
        if (RESTORE.kind, name) in case.ctx.world.unread:
            raise Hold(
                f"ElinkRestore {name} of the tenant cannot be read, so that nobody can undo what it began: correct it",
                reason="RestoreNotReadable",
                retry_after=60,
            )
        raise Hold(f"restore {name} of the tenant is being ended", retry_after=2)


async def drop_database(case: Case) -> Evidence:
    """Registry row, sessions, database, role; PostgreSQL is asked again afterwards."""
    stop_if_harm_was_found(case)
    server_db, tenant_db = await _rows(case)
    evidence = await case.ctx.databases.drop_tenant(server_db, tenant_db)
    if not evidence.clean:
        raise Hold(f"PostgreSQL still has {', '.join(evidence.left)}", retry_after=5)
    return Evidence("; ".join(text for _, text in evidence.steps), dropped(tenant_db, evidence.steps))


async def clear_residue(case: Case) -> Evidence:
    """What PostgreSQL keeps of what was dropped: dead rows and its write-ahead log."""
    server_db, _ = await _rows(case)
    places = cleared(await case.ctx.databases.clear_residue(server_db))
    return Evidence("; ".join(f"{place.store}: {place.removed}" for place in places), places)


async def remove_files(case: Case) -> Evidence:
    """Directory, backups and lines in delivery journals, by a Job that sees the volumes; its report is the evidence."""
    stop_if_harm_was_found(case)
    ctx, tenant, server = case.ctx, case.tenant, case.present_server()
    wanted = build_erase_job(
        ctx.settings, server.name, ctx.world.region(server.spec), tenant.name, tenant.metadata.uid,
        backups=case.backups_volume,
    )  # fmt: skip
    await _job_ended(case, wanted, "directory and backups are removed")
    return await _erase_report(case, naming.erase_job(tenant.name))


async def remove_bucket(case: Case) -> Evidence:
    """Every generation in the object store, the bucket and its account; the store is asked again afterwards."""
    stop_if_harm_was_found(case)
    ctx, tenant = case.ctx, case.tenant
    if ctx.objects is None:
        raise Hold(
            f"Secret {naming.backup_store_secret(tenant.name)} says that there are backups in an object store, and the "
            "operator is told of none: set the chart's backup.s3.endpoint until the tenant is erased",
            reason="StoreNotConfigured",
            retry_after=60,
        )
    bucket, own = bucket_of(tenant.name, ctx.settings), own_accounts(ctx.settings)
    erased, left = await erase_bucket(ctx.objects, bucket, account=own)
    if left:
        raise Hold(f"{left} is still there", reason="BucketLeft", retry_after=5)
    return Evidence(f"bucket {bucket} and what was in it removed", erased_bucket(bucket, erased, account=own))


async def remove_secrets(case: Case) -> Evidence:
    """Both log-ins, both copies of the key of the backups, and what else still carries the tenant's label."""
    ctx, tenant = case.ctx, case.tenant
    places = [
        ("Secret", ctx.settings.namespace, naming.master_secret(tenant.name)),
        ("BackupKey", ctx.settings.namespace, naming.backup_key_secret(tenant.name)),
    ]
    if case.home is not None:
        places += [
            ("Secret", case.namespace, naming.tenant_secret(tenant.name)),
            ("BackupKey", case.namespace, naming.backup_key_copy(tenant.name)),
        ]
    if case.has_bucket:
        places.append(("Secret", case.namespace, naming.backup_store_secret(tenant.name)))
    stores = [
        removed(store, f"{namespace}/{name}", await _remove(case, SECRET, name, namespace=namespace))
        for store, namespace, name in places
    ]
    left, _ = await ctx.client.list(SECRET, label_selector=f"{labels.TENANT}={tenant.name}")
    mine = [s for s in left if s["metadata"].get("labels", {}).get(labels.MANAGED_BY) == labels.MANAGED_BY_VALUE]
    for secret in mine:
        metadata = secret["metadata"]
        await ctx.client.delete(SECRET, metadata["name"], namespace=metadata["namespace"], uid=metadata["uid"])
    if mine:
        raise Hold("Secrets are being removed", retry_after=1)
    return Evidence("Secrets removed", tuple(stores))


async def compare_neighbours(case: Case) -> Evidence:
    """All other tenants are still there as they were counted; any loss stops every erasure on this server."""
    ctx, tenant = case.ctx, case.tenant
    server_db, tenant_db = await _rows(case)
    after = await ctx.databases.census(server_db, tenant_db.database)
    harm = _harm(case, after)
    case.harm = "; ".join(harm[:5])
    if harm and tenant.metadata.annotations.get(labels.NEIGHBOURS_CHECKED) != tenant.name:
        raise Hold(
            f"after this erasure other tenants lack something: {case.harm}. Every erasure on server "
            f"{server_db.name} is stopped. Restore what is missing, then 'kubectl annotate et {tenant.name} "
            f"{labels.NEIGHBOURS_CHECKED}={tenant.name}'",
            reason=conditions.NEIGHBOURS_HARMED,
            retry_after=60,
        )
    case.harm = ""
    return Evidence(f"{len(after.databases)} other databases are unharmed")


async def list_volumes(case: Case) -> Evidence:
    """Which volumes the server has, before they go: afterwards nobody can name them."""
    volumes, _ = await case.ctx.client.list(PV)
    mine = [v for v in volumes if (v["spec"].get("claimRef") or {}).get("namespace") == case.namespace]
    stores = (
        ErasedStore(
            store="Volume",
            name=str(v["metadata"]["name"]),
            removed=f"claim {v['spec']['claimRef'].get('name', '?')}: deleted with what was on it by its provisioner",
        )
        for v in sorted(mine, key=lambda v: str(v["metadata"]["name"]))
    )
    return Evidence(f"{len(mine)} volumes", tuple(stores))


async def remove_server(case: Case) -> Evidence:
    """The dedicated server as a whole: resource, namespace, volumes."""
    ctx, tenant = case.ctx, case.tenant
    try:
        live: Obj | None = await ctx.client.get(SERVER, tenant.name)
    except NotFound:
        live = None
    if live is not None:
        try:
            server = ElinkServer.parse(live)
        except ValueError:
            raise unreadable(tenant.name) from None
        if not tenant.owns(server):
            raise Hold(
                f"ElinkServer {server.name} is not this tenant's: a human must say whose it is",
                reason="ServerNotOurs",
                retry_after=60,
            )
        if not server.deleting:
            await ctx.client.delete(SERVER, server.name, uid=server.metadata.uid)
        ready = find_condition(server.status.conditions, conditions.READY)
        raise Hold(f"the server is being removed: {ready.message if ready and server.deleting else 'asked to go'}")
    left = (
        await namespace_left(ctx, case.namespace)
        or await volumes_left(ctx, case.namespace)
        or await server_backups_left(ctx, tenant.name)
    )
    if left:
        raise Hold(left)
    await forget_server(ctx, tenant.name)
    return Evidence(
        f"ElinkServer {tenant.name}, namespace {case.namespace} and its volumes are gone",
        (
            *with_the_server(case.tenant, case.namespace, external=case.external, backups=on_volumes(ctx.settings)),
            removed("ServerBackups", place_of(ctx, tenant.name), was_there=True),
        ),
    )


def stop_if_harm_was_found(case: Case) -> None:
    """One erasure that harmed a neighbour stops all others on the server until a human has looked.

    Not one that has found harm too: it has removed everything and compares again.
    """
    if observe.harms_neighbours(case.tenant):
        return
    home = case.home.server if case.home else ""
    for other in case.ctx.world.residents(home, besides=case.tenant.name):
        if observe.harms_neighbours(other):
            raise Hold(
                f"the erasure of {other.name} on this server harmed a neighbour; nothing is removed here until that "
                "is resolved",
                reason="StoppedByNeighbour",
                retry_after=60,
            )


def _must_be_on(tenant: ElinkTenant, server: str) -> bool:
    """Whether the tenant's database must be there. One that is being erased, or has moved away, loses it rightly.

    One that was deleted without a confirmation keeps its data.
    """
    return not is_to_be_erased(tenant) and lives_on(tenant, server)


def _harm(case: Case, after: Census) -> tuple[str, ...]:
    """What neighbours lost that should have it."""
    home = case.home.server if case.home else ""
    alive = {
        naming.tenant_database(t.name)
        for t in case.ctx.world.residents(home, besides=case.tenant.name)
        if _must_be_on(t, home)
    } | {naming.tenant_database(unread.name) for unread in case.ctx.world.unread_residents(home)}
    try:
        before = case.counted.census() if case.counted is not None else None
    except ValueError:
        before = None
    if before is None:
        return ("status.erasure does not say what they had before: compare with their backups",)
    return Census({n: c for n, c in before.databases.items() if n in alive}).harmed(after)


async def access_to(case: Case) -> Access:
    """The access to the tenant's server. Raises Hold when a Secret behind it is missing."""
    server = case.present_server()
    access = await find_access(case.ctx, server)
    if access is None:
        raise Hold(lacking_access(case.ctx, server), reason="CredentialsMissing", retry_after=30)
    return access


async def _rows(case: Case) -> tuple[ServerDb, TenantDb]:
    server, access = case.present_server(), await access_to(case)
    inputs = TenantInputs(
        case.tenant, server.name, case.ctx.settings, access, region=case.ctx.world.region(server.spec)
    )
    return server_row(server, access), tenant_row(inputs, token_sha256="", token_expires=None)


async def _remove(case: Case, kind: Kind, name: str, namespace: str | None = None) -> bool:
    """Delete one object by its exact name and look at the API server whether it is gone; whether it was there."""
    where = namespace or case.namespace
    try:
        live = await case.ctx.client.get(kind, name, where)
    except NotFound:
        return False
    if not live["metadata"].get("deletionTimestamp"):
        await case.ctx.client.delete(kind, name, namespace=where, uid=live["metadata"]["uid"])
    try:
        await case.ctx.client.get(kind, name, where)
    except NotFound:
        return True
    raise Hold(f"{kind} {name} is being deleted", retry_after=2)


async def _job_ended(case: Case, wanted: Obj, what: str) -> None:
    """Have the Job done, and Hold until it succeeded; one of an earlier tenant of the same name is no evidence."""
    ctx, name = case.ctx, wanted["metadata"]["name"]
    try:
        job = await ctx.client.get(JOB, name, case.namespace)
    except NotFound:
        await ctx.applier.apply_if_changed(JOB, wanted)
        raise Hold(f"{what} by a Job", retry_after=5) from None
    state = observe.job_state(job)
    if job["metadata"].get("annotations", {}).get(TENANT_UID) != case.tenant.metadata.uid or jobs.failed_long_ago(
        job, ctx.clock()
    ):
        await jobs.remove(ctx, job)
        raise Hold("an old Job of an erasure is being replaced", retry_after=2)
    if state == "failed":
        raise job_failed(job)
    if state != "succeeded":
        raise Hold(f"{what} by a Job", retry_after=5)


def job_failed(job: Obj) -> Hold:
    """What an erasure waits for when one of its Jobs failed."""
    name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
    return Hold(
        f"the Job {name} failed ({observe.job_failure(job)}); it is replaced in two minutes, "
        f"see 'kubectl logs -n {namespace} job/{name}'",
        reason="EraseJobFailed",
        retry_after=30,
    )


async def _erase_report(case: Case, job: str) -> Evidence:
    """What the Job's pod said; its pod may be gone, then the Job's success is what is known."""
    pods = await jobs.pods_of(case.ctx, case.namespace, job)
    report = observe.termination_message(pods)
    journals = observe.termination_message(pods, init=True)
    return Evidence(
        report or "directory, backups and journal lines removed; the Job looked again and found nothing",
        erased_files(case.tenant.name, report, journals, backups=case.backups_volume),
    )
