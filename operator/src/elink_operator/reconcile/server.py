"""One ElinkServer: namespace, database, migration, app, worker, and what is known about them."""

import asyncio
from dataclasses import dataclass, field, replace

from elink_operator import conditions, labels, naming, observe
from elink_operator.api import ElinkServer
from elink_operator.api.admission import validate_server
from elink_operator.api.server import Tenancy
from elink_operator.api.tenant import State
from elink_operator.cluster.errors import Forbidden, Invalid, NotFound
from elink_operator.cluster.kinds import DEPLOYMENT, HPA, NAMESPACE, SERVER, STATEFUL_SET, Obj, kind_of
from elink_operator.conditions import Condition
from elink_operator.database import DatabaseError
from elink_operator.desired import (
    deployment,
    hpa,
    namespace,
    networkpolicy,
    pdb,
    quota,
    secret,
    service,
    statefulset,
    volume,
)
from elink_operator.desired.inputs import Access, ServerInputs
from elink_operator.desired.store import on_volumes
from elink_operator.reconcile import changes
from elink_operator.reconcile.access import ensure_access
from elink_operator.reconcile.backups import server_backup_facts
from elink_operator.reconcile.comparison import compare_databases, fill_spares
from elink_operator.reconcile.context import Context, Outcome
from elink_operator.reconcile.drills import begin_drill, forget_drills
from elink_operator.reconcile.errors import Waiting
from elink_operator.reconcile.isolation import isolation, targets_of
from elink_operator.reconcile.mail_login import read_mail_authority, read_mail_login
from elink_operator.reconcile.migration import migrate
from elink_operator.reconcile.rows import server_row
from elink_operator.reconcile.server_backup import ensure_server_backup
from elink_operator.reconcile.status import conditions_of, ensure_finalizer, write_status
from elink_operator.reconcile.teardown import tear_down
from elink_operator.reconcile.unreadable import report_unread
from elink_operator.reconcile.workloads import Applied, apply_deployment, apply_postgres

LOOK_AGAIN_SECONDS = 60.0
"""Isolation and PostgreSQL send no events: a server is looked at once a minute."""

_STORE_AGAIN_SECONDS = 30.0

_HELD = (
    "this release of the operator would make pods a little different; they change with the server's next version, or "
    f"at once when the annotation {labels.TAKE_UPDATE} is set or changed"
)


@dataclass
class _Findings:
    """What one run learns; becomes the status."""

    database: Condition
    app: Condition
    worker: Condition
    isolated: Condition
    version: str
    migration: str
    backup: Condition
    template_lost: bool = False
    stored: Obj | None = None
    web: Obj | None = None
    workers: Obj | None = None
    waits: list[str] = field(default_factory=list)
    retry_after: float = LOOK_AGAIN_SECONDS
    held: bool = False

    def note(self, applied: Applied) -> None:
        """Remember what a workload waits for."""
        self.held = self.held or applied.held
        if applied.wait:
            self.waits.append(applied.wait)
            self.retry_after = min(self.retry_after, 3)


async def reconcile_server(name: str, ctx: Context) -> Outcome:
    """Bring one server to its spec; raises ClusterError or DatabaseError only for what should be retried soon."""
    server = ctx.world.servers.get(name)
    if server is None:
        return await report_unread(ctx, SERVER, name)
    await changes.record(ctx, SERVER, name)
    if server.deleting:
        return await tear_down(server, ctx)
    await ensure_finalizer(ctx, SERVER, name)
    refusals = validate_server(server, server, ctx.world)
    if refusals:
        await _write_failure(ctx, server, "NotAllowed", " ".join(refusals))
        return Outcome()
    try:
        return await _converge(ctx, server)
    except Waiting as wait:
        await _write_failure(ctx, server, wait.reason, wait.message)
        return Outcome(wait.retry_after)
    except (Invalid, Forbidden, NotFound) as error:
        await _write_failure(ctx, server, "ApplyRefused", f"{error}; correct the cause, it is tried again by itself")
        raise


async def _converge(ctx: Context, server: ElinkServer) -> Outcome:
    version = _running_version(ctx, server)
    target = server.spec.version or version
    inputs = await _prepare(ctx, server, version)
    found = _Findings(
        database=conditions.unknown(conditions.DATABASE_READY, "NotLooked", "the database was not looked at yet"),
        app=observe.workload_condition(conditions.APP_READY, None, "the app"),
        worker=observe.workload_condition(conditions.WORKER_READY, None, "the delivery worker"),
        isolated=conditions.unknown(conditions.ISOLATED, "NothingToProbe", "the server is not up yet"),
        backup=conditions.unknown(conditions.BACKUP_HEALTHY, "NoBackupYet", "the server is not up yet"),
        version=version,
        migration=server.status.migration,
    )
    access = await ensure_access(ctx, server)
    database_up = await _database(ctx, inputs, access, target, found)
    if database_up:
        await _migrate(ctx, inputs, access, target, found)
    if found.migration:
        inputs = replace(inputs, version=found.version)
        await _app(ctx, inputs, found)
        await _backup(ctx, inputs, access, found)
    targets = targets_of(
        server.name,
        database_up=database_up and inputs.embedded,
        app_up=found.app.status == "True" and observe.replicas(found.web).ready > 0,
    )
    found.isolated = await isolation(ctx, server.name, targets)
    await _write_findings(ctx, server, inputs, found, settled=found.version == target)
    if database_up and not found.waits:
        await fill_spares(ctx, server, server_row(server, access))
        await begin_drill(ctx, server)
        await forget_drills(ctx, server)
    return Outcome(found.retry_after)


def _running_version(ctx: Context, server: ElinkServer) -> str:
    """The version that runs: from the status, else (a restored resource has none) from the Deployment, else new."""
    if server.status.version:
        return server.status.version
    live = ctx.store.get(DEPLOYMENT, naming.server_namespace(server.name), naming.WEB)
    if live is not None:
        image = str(live["spec"]["template"]["spec"]["containers"][0]["image"])
        return image.rpartition(":")[2]
    return server.spec.version or ctx.settings.default_app_version


async def _prepare(ctx: Context, server: ElinkServer, version: str) -> ServerInputs:
    """Namespace, credentials, and everything that does not depend on PostgreSQL being up."""
    namespace_name = naming.server_namespace(server.name)
    live = ctx.store.get(NAMESPACE, None, namespace_name)
    if live is not None and live["metadata"].get("deletionTimestamp"):
        raise Waiting(
            "NamespaceTerminating",
            f"namespace {namespace_name} is being deleted and its data with it; it is made again when it is gone",
        )
    await ctx.applier.apply_if_changed(NAMESPACE, namespace.build_namespace(server.name))
    access = await ensure_access(ctx, server)
    login = await read_mail_login(ctx)
    inputs = ServerInputs(
        server=server,
        settings=ctx.settings,
        version=version,
        endpoint=access.endpoint,
        postgres_image=_postgres_image(ctx, server),
        worker_stopped=_worker_stopped(ctx, server),
        credentials_hash=access.fingerprint,
        mail_login=login.keyed(access.tenant_key) if login else None,
        mail_authority=read_mail_authority(ctx),
    )
    await asyncio.gather(*(ctx.applier.apply_if_changed(kind_of(obj), obj) for obj in _base_objects(inputs)))
    return inputs


def _base_objects(inputs: ServerInputs) -> list[Obj]:
    objects = [
        namespace.build_service_account(inputs),
        quota.build_resource_quota(inputs),
        quota.build_limit_range(inputs),
        *networkpolicy.build_network_policies(inputs),
        volume.build_files_volume(inputs),
        service.build_web_service(inputs),
        pdb.build_pdb(inputs),
    ]
    if on_volumes(inputs.settings):
        objects.append(volume.build_backups_volume(inputs))
    if inputs.settings.bounce_domain:
        objects.append(service.build_inbound_service(inputs))
    if inputs.mail_login is not None:
        objects.append(secret.build_mail_login(inputs, inputs.mail_login))
    if inputs.mail_authority:
        objects.append(secret.build_mail_authority(inputs))
    if inputs.embedded:
        objects += [volume.build_postgres_volume(inputs), service.build_postgres_service(inputs)]
    return objects


def _postgres_image(ctx: Context, server: ElinkServer) -> str:
    """A running PostgreSQL keeps its image until the server's version changes: an operator upgrade restarts nobody."""
    live = ctx.store.get(STATEFUL_SET, naming.server_namespace(server.name), naming.POSTGRES)
    changing = bool(server.spec.version) and server.spec.version != server.status.version
    if live is None or changing:
        return ctx.settings.postgres_image
    return str(live["spec"]["template"]["spec"]["containers"][0]["image"])


def _worker_stopped(ctx: Context, server: ElinkServer) -> bool:
    if server.spec.tenancy is not Tenancy.DEDICATED:
        return False
    tenant = ctx.world.tenants.get(server.name)
    return tenant is not None and tenant.spec.state is not State.ACTIVE


async def _database(ctx: Context, inputs: ServerInputs, access: Access, target: str, found: _Findings) -> bool:
    """PostgreSQL and what the operator needs in it; returns whether it can be used."""
    type_ = conditions.DATABASE_READY
    if inputs.embedded:
        applied = await apply_postgres(ctx, statefulset.build_postgres(inputs))
        found.note(applied)
        if not observe.postgres_is_ready(applied.live):
            found.database = conditions.false(
                type_,
                "PostgresNotReady",
                applied.wait or f"PostgreSQL is starting; see 'kubectl describe pod -n {inputs.namespace} postgres-0'",
            )
            found.retry_after = 15
            return False
    row = server_row(inputs.server, access)
    try:
        await ctx.databases.ensure_server(row)
        found.template_lost = await compare_databases(ctx, inputs.server, row, target)
    except DatabaseError as error:
        found.database = conditions.false(type_, error.reason, str(error))
        found.retry_after = 10
        return False
    found.database = conditions.true(type_, "Prepared", "PostgreSQL answers and is prepared")
    return True


async def _migrate(ctx: Context, inputs: ServerInputs, access: Access, target: str, found: _Findings) -> None:
    try:
        found.migration = await migrate(
            ctx, inputs, access, target, done="" if found.template_lost else found.migration
        )
        found.version = target
    except Waiting as wait:
        found.retry_after = wait.retry_after
        found.waits.append(wait.message)
        if not found.migration:
            found.database = conditions.false(conditions.DATABASE_READY, wait.reason, wait.message)


async def _app(ctx: Context, inputs: ServerInputs, found: _Findings) -> None:
    web, workers = await asyncio.gather(
        apply_deployment(ctx, deployment.build_web(inputs)),
        apply_deployment(ctx, deployment.build_worker(inputs)),
    )
    await _autoscaler(ctx, inputs)
    found.web, found.workers = web.live, workers.live
    found.note(web)
    found.note(workers)
    found.app = observe.workload_condition(conditions.APP_READY, found.web, "the app")
    if inputs.worker_stopped:
        found.worker = conditions.true(
            conditions.WORKER_READY, "Stopped", "the delivery worker is stopped while the tenant is not Active"
        )
    else:
        found.worker = observe.workload_condition(conditions.WORKER_READY, found.workers, "the delivery worker")


async def _backup(ctx: Context, inputs: ServerInputs, access: Access, found: _Findings) -> None:
    """What belongs to no tenant is backed up too (docs/adr/0022)."""
    prevented = await ensure_server_backup(ctx, inputs, access)
    if prevented is not None:
        found.retry_after = min(found.retry_after, _STORE_AGAIN_SECONDS)
    facts = await server_backup_facts(ctx, inputs.server)
    found.backup, found.stored = prevented or facts.condition, facts.status


async def _autoscaler(ctx: Context, inputs: ServerInputs) -> None:
    wanted = inputs.server.spec.app.autoscaling
    if wanted is not None:
        await ctx.applier.apply_if_changed(HPA, hpa.build_hpa(inputs, wanted))
    elif ctx.store.entry(HPA, inputs.namespace, naming.WEB) is not None:
        await ctx.client.delete(HPA, naming.WEB, namespace=inputs.namespace)


async def _write_findings(
    ctx: Context, server: ElinkServer, inputs: ServerInputs, found: _Findings, *, settled: bool
) -> None:
    web, workers = observe.replicas(found.web), observe.replicas(found.workers)
    parts = [found.database, found.app, found.worker]
    ready = conditions.summarize(parts, fine="the server runs as declared")
    unfinished = [*found.waits, *(c.message for c in parts if c.reason == conditions.UPDATE_STUCK)]
    if ready.status == "True" and unfinished:
        ready = conditions.true(conditions.READY, conditions.CHANGING, unfinished[0])
    elif ready.status == "True" and found.held:
        ready = conditions.true(conditions.READY, "UpdateHeld", _HELD)
    effective = settled and ready.status == "True" and not unfinished and (found.web is None or web.current)
    status: Obj = {
        "conditions": conditions_of(
            ctx, SERVER, server.name, server.metadata.generation, [ready, *parts, found.isolated, found.backup]
        ),
        "tenants": count_tenants(ctx, server.name),
        "version": found.version,
        "region": inputs.region,
        "namespace": inputs.namespace,
        "migration": found.migration,
        "app": {
            "replicas": web.existing,
            "readyReplicas": web.ready,
            "selector": f"{labels.COMPONENT}={labels.WEB}",
        },
        "worker": {"replicas": workers.existing, "readyReplicas": workers.ready},
        **changes.fields(ctx, server.metadata.uid),
    }
    if found.stored is not None:
        status["backup"] = found.stored
    if effective:
        status["observedGeneration"] = server.metadata.generation
    await write_status(ctx, SERVER, server.name, status)
    _wake_residents(ctx, server, [ready, found.database, found.isolated])


def _wake_residents(ctx: Context, before: ElinkServer, now: list[Condition]) -> None:
    """Tenants repeat these conditions: let them look when one of them turns."""
    known = {c.type: (c.status.value, c.reason) for c in before.status.conditions}
    if any(known.get(c.type) != (c.status, c.reason) for c in now):
        for tenant in ctx.world.residents(before.name):
            ctx.wake("tenant", tenant.name)


async def _write_failure(ctx: Context, server: ElinkServer, reason: str, message: str) -> None:
    """Ready False with the reason; what else was known stays as it was."""
    kept = [
        Condition(c.type, c.status.value, c.reason, c.message)
        for c in server.status.conditions
        if c.type != conditions.READY
    ]
    ready = conditions.false(conditions.READY, reason, message)
    merged = conditions_of(ctx, SERVER, server.name, server.metadata.generation, [ready, *kept])
    tenants = count_tenants(ctx, server.name)
    status = {"conditions": merged, "tenants": tenants, **changes.fields(ctx, server.metadata.uid)}
    await write_status(ctx, SERVER, server.name, status)


def count_tenants(ctx: Context, server: str) -> int:
    """Tenants that live on the server (a pin alone does not count)."""
    readable = sum(1 for tenant in ctx.world.residents(server) if tenant.status.server == server)
    return readable + sum(unread.lives for unread in ctx.world.unread_residents(server))
