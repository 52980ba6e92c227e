"""One ElinkTenant: a place on a server, a database, a route, a backup schedule, a first log-in."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from elink_operator import conditions, labels, naming, observe
from elink_operator.api import ElinkRestore, ElinkServer, ElinkTenant
from elink_operator.api.admission import is_to_be_erased, validate_tenant
from elink_operator.api.meta import find_condition, is_true
from elink_operator.api.tenant import Phase, Plan, State
from elink_operator.cluster.errors import Forbidden, Invalid, NotFound
from elink_operator.cluster.kinds import CRON_JOB, HTTP_ROUTE, SECRET, SERVER, TENANT, Obj
from elink_operator.conditions import Condition
from elink_operator.database import DatabaseError, DatabaseLost
from elink_operator.desired.cronjob import build_backup
from elink_operator.desired.httproute import build_route
from elink_operator.desired.inputs import TenantInputs, schema_of
from elink_operator.desired.secret import build_tenant_secret
from elink_operator.desired.vault import of_tenant
from elink_operator.reconcile import cancellation, changes, letters, loss, master
from elink_operator.reconcile.access import find_access, lacking_access
from elink_operator.reconcile.backup_bucket import ensure_bucket
from elink_operator.reconcile.backup_key import ensure_key
from elink_operator.reconcile.backups import backup_facts
from elink_operator.reconcile.context import Context, Outcome
from elink_operator.reconcile.erase import erase_tenant
from elink_operator.reconcile.errors import Waiting
from elink_operator.reconcile.moving import ask_for_move
from elink_operator.reconcile.placing import Home, home_of, lives_on, own_server, settle
from elink_operator.reconcile.rows import reason_of, server_row, tenant_row
from elink_operator.reconcile.status import conditions_of, write_status
from elink_operator.reconcile.unreadable import report_unread

_GATEWAY_PATIENCE = timedelta(seconds=3)
"""A Gateway usually answers within a second: until then no status is written that would be rewritten at once."""

_STORE_AGAIN = 30.0
"""Seconds until an object store that was away is asked again."""


@dataclass
class _Findings:
    """What one run learns; becomes the status."""

    server: Condition
    database: Condition
    route: Condition
    backup: Condition
    isolated: Condition
    backup_status: Obj | None = None
    key_missing: Condition | None = None
    no_store: Condition | None = None
    settled: bool = False
    elsewhere: bool = False
    """The spec wants another server than the one that the tenant lives on."""
    lost: bool = False
    retry_after: float | None = None
    tell_again: float | None = None

    @property
    def parts(self) -> list[Condition]:
        return [self.server, self.database, self.route]


_NOT_CONFIRMED = (
    "deleted without a confirmation (was the CRD deleted?): nothing is erased and the service goes on as it is."
    " A deletion cannot be taken back: see runbook ElinkDeletionNotConfirmed first. Only to erase the"
    f" customer's data and backups: 'kubectl annotate et {{name}} {labels.CONFIRM_ERASURE}={{name}}'"
)


_NO_LONGER_CONFIRMED = (
    "neither Cancelled nor confirmed any more: its erasure had begun and stands still. What status.erasure calls done"
    " is gone and does not come back; nothing more is removed. To end it: 'kubectl annotate et {name}"
    f" {labels.CONFIRM_ERASURE}={{name}}'"
)


async def reconcile_tenant(name: str, ctx: Context) -> Outcome:
    """Bring one tenant to its spec; raises ClusterError only for what should be retried soon."""
    tenant = ctx.world.tenants.get(name)
    if tenant is None:
        ctx.memory.reserved.pop(name, None)
        return await report_unread(ctx, TENANT, name)
    await changes.record(ctx, TENANT, name)
    if tenant.deleting:
        if is_to_be_erased(tenant):
            return await erase_tenant(tenant, ctx)
        return await _unconfirmed(ctx, tenant)
    if await cancellation.delete_when_due(ctx, tenant):
        return Outcome()
    refusals = validate_tenant(tenant, tenant, ctx.world)
    if refusals:
        outcome = await _failed(ctx, tenant, "NotAllowed", " ".join(refusals))
        await _keep_the_contract(ctx, tenant)
        return outcome
    try:
        return await _converge(ctx, tenant)
    except Waiting as wait:
        return await _failed(ctx, tenant, wait.reason, wait.message, wait=wait)
    except (Invalid, Forbidden, NotFound) as error:
        await _failed(ctx, tenant, "ApplyRefused", f"{error}; correct the cause, it is tried again by itself")
        raise


async def _unconfirmed(ctx: Context, tenant: ElinkTenant) -> Outcome:
    """Admission was not asked (its policies are gone, or the CRD was deleted): data and service stay.

    The service is kept up where the tenant lives: a restore or move that was under way left it to this run.
    """
    if tenant.status.erasure is not None:
        return await _failed(ctx, tenant, "ErasureNotConfirmed", _NO_LONGER_CONFIRMED.format(name=tenant.name))
    outcome = await _failed(ctx, tenant, "ErasureNotConfirmed", _NOT_CONFIRMED.format(name=tenant.name))
    home = home_of(tenant)
    server = ctx.world.servers.get(home.server) if home else None
    if home is None or server is None or not _database_usable(server):
        return outcome
    found = _initial(server, home)
    await _provision(ctx, tenant, server, home, found)
    return Outcome(min((w for w in (outcome.requeue_after, found.retry_after) if w is not None), default=None))


async def _keep_the_contract(ctx: Context, tenant: ElinkTenant) -> None:
    """A refused tenant is suspended, cancelled or resumed all the same; whatever else its spec says waits."""
    home = home_of(tenant)
    server = ctx.world.servers.get(home.server) if home else None
    if server is None or not _database_usable(server):
        return
    access = await find_access(ctx, server)
    if access is not None:
        state = tenant.spec.state.value
        row = server_row(server, access)
        await ctx.databases.set_state(row, tenant.name, tenant.metadata.uid, state, reason_of(tenant))


async def _converge(ctx: Context, tenant: ElinkTenant) -> Outcome:
    home = await settle(ctx, tenant)
    if tenant.spec.plan is Plan.DEDICATED:
        await own_server(ctx, tenant)
    elsewhere = await ask_for_move(ctx, tenant, home)
    server = ctx.world.servers.get(home.server)
    found = _initial(server, home)
    if (SERVER.kind, home.server) in ctx.world.unread:
        unread = f"ElinkServer {home.server} cannot be read by this operator: correct it; the tenant goes on as it is"
        found.server = conditions.false(conditions.SERVER_READY, "ServerNotReadable", unread)
    if elsewhere is not None:
        found.server, found.elsewhere = elsewhere, True
    owned = ctx.store.by_tenant(tenant.name)
    if server is not None and _database_usable(server):
        await _provision(ctx, tenant, server, home, found)
    await _observe(ctx, tenant, home, owned, found)
    if _only_the_gateway_is_awaited(ctx, tenant, home, found):
        return Outcome(1.0)
    if _has_moved(ctx, tenant, home):
        return Outcome(0.5)
    await _write_findings(ctx, tenant, server, home, found)
    found.tell_again = await letters.tell_contacts(ctx, tenant.name)
    return Outcome(_next_look(ctx, tenant, found))


def _initial(server: ElinkServer | None, home: Home) -> _Findings:
    waiting = conditions.false(conditions.DATABASE_READY, "WaitingForServer", f"the database waits for {home.server}")
    return _Findings(
        server=_server_condition(server, home),
        database=waiting,
        route=conditions.false(conditions.ROUTE_READY, "WaitingForServer", f"the route waits for {home.server}"),
        backup=conditions.unknown(conditions.BACKUP_HEALTHY, "NoBackupYet", "there is nothing to back up yet"),
        isolated=_isolated(server),
    )


def _server_condition(server: ElinkServer | None, home: Home) -> Condition:
    type_ = conditions.SERVER_READY
    if server is None:
        return conditions.false(
            type_, "ServerMissing", f"ElinkServer {home.server} does not exist (yet); it is waited for"
        )
    ready = find_condition(server.status.conditions, conditions.READY)
    if ready is None:
        return conditions.false(type_, "ServerStarting", f"server {server.name} is being made")
    if ready.status.value != "True":
        return conditions.false(type_, ready.reason, f"server {server.name}: {ready.message}")
    return conditions.true(type_, "ServerReady", f"server {server.name} runs as declared")


def _isolated(server: ElinkServer | None) -> Condition:
    known = find_condition(server.status.conditions, conditions.ISOLATED) if server else None
    if known is None:
        return conditions.unknown(conditions.ISOLATED, "NothingToProbe", "the server is not up yet")
    return Condition(conditions.ISOLATED, known.status.value, known.reason, known.message)


def _database_usable(server: ElinkServer) -> bool:
    return bool(server.status.migration) and is_true(server.status.conditions, conditions.DATABASE_READY)


async def _provision(ctx: Context, tenant: ElinkTenant, server: ElinkServer, home: Home, found: _Findings) -> None:
    """Database and objects; independent parts at the same time."""
    access = await find_access(ctx, server)
    if access is None:
        found.database = conditions.false(conditions.DATABASE_READY, "CredentialsMissing", lacking_access(ctx, server))
        found.retry_after = 5
        return
    restore = ctx.world.restoring(tenant.name)
    inputs = TenantInputs(
        tenant,
        home.server,
        ctx.settings,
        access,
        region=ctx.world.region(server.spec),
        maintenance=restore is not None,
        schema=schema_of(server),
    )
    invitation = await master.prepare(ctx, inputs)
    vault = of_tenant(inputs)
    found.key_missing = await ensure_key(ctx, vault, backed_up=tenant.status.backup.any)
    found.no_store = await ensure_bucket(ctx, vault)
    if found.no_store is not None:
        found.retry_after = _STORE_AGAIN
    row = tenant_row(inputs, token_sha256=invitation.sha256, token_expires=invitation.expires_at)
    writes = [
        ctx.applier.apply_if_changed(SECRET, build_tenant_secret(inputs)),
        ctx.applier.apply_if_changed(HTTP_ROUTE, build_route(inputs)),
        ctx.applier.apply_if_changed(CRON_JOB, build_backup(inputs)),
    ]
    if invitation.secret is not None:
        writes.append(ctx.applier.apply_if_changed(SECRET, invitation.secret))
    if restore is not None:
        # Database and registry row are the restore's as long as it replaces them.
        await asyncio.gather(*writes)
        found.database = _restoring(restore)
        return
    ctx.memory.creating[server.name] += 1
    try:
        database, *written = await asyncio.gather(
            ctx.databases.ensure_tenant(server_row(server, access), row, may_make=loss.may_make(tenant)),
            *writes,
            return_exceptions=True,
        )
    finally:
        ctx.memory.creating[server.name] -= 1
    for result in written:
        if isinstance(result, BaseException):
            raise result
    if isinstance(database, DatabaseLost):
        found.database = loss.condition(tenant)
        found.lost, found.retry_after = True, loss.NEXT_LOOK
    elif isinstance(database, DatabaseError):
        found.database = conditions.false(conditions.DATABASE_READY, database.reason, str(database))
        found.retry_after = 5
    elif isinstance(database, BaseException):
        raise database
    else:
        found.database = conditions.true(conditions.DATABASE_READY, "Complete", "database, role and registry are there")
        found.settled = True
        if database and loss.had_data(tenant):
            await loss.tell_of_an_empty_one(ctx, tenant)


def _restoring(restore: ElinkRestore) -> Condition:
    return conditions.false(
        conditions.DATABASE_READY,
        "Restoring",
        f"the tenant is out of service while its data is restored; 'kubectl get er {restore.name}' says how far it is",
    )


async def _observe(ctx: Context, tenant: ElinkTenant, home: Home, owned: list[Obj], found: _Findings) -> None:
    namespace = naming.server_namespace(home.server)
    route = ctx.store.get(HTTP_ROUTE, namespace, naming.tenant_route(tenant.name))
    if route is not None:
        found.route = observe.route_condition(route, ctx.settings.gateway_namespace, ctx.settings.gateway_name)
        facts = await backup_facts(ctx, tenant, namespace, owned)
        found.backup, found.backup_status = found.key_missing or found.no_store or facts.condition, facts.status


def _only_the_gateway_is_awaited(ctx: Context, tenant: ElinkTenant, home: Home, found: _Findings) -> bool:
    if found.route.reason != "WaitingForGateway" or not found.settled or found.server.status != "True":
        return False
    route = ctx.store.get(HTTP_ROUTE, naming.server_namespace(home.server), naming.tenant_route(tenant.name))
    born = conditions.parse_timestamp(route["metadata"]["creationTimestamp"]) if route else ctx.clock()
    return not tenant.status.observed_generation and ctx.clock() - born < _GATEWAY_PATIENCE


def _has_moved(ctx: Context, tenant: ElinkTenant, home: Home) -> bool:
    """Whether a move gave the tenant another home while this run was under way, which must not put it back."""
    live = ctx.world.tenants.get(tenant.name)
    return live is not None and not lives_on(live, home.server)


async def _write_findings(
    ctx: Context, tenant: ElinkTenant, server: ElinkServer | None, home: Home, found: _Findings
) -> None:
    ready = conditions.summarize(found.parts, fine="the tenant is served as declared")
    generation = tenant.metadata.generation
    host = naming.tenant_host(tenant.name, tenant.spec.host, ctx.settings.base_domain)
    effective = (
        found.settled and not found.elsewhere and found.route.status == "True" and _size_took_effect(tenant, server)
    )
    status: Obj = {
        "conditions": conditions_of(
            ctx, TENANT, tenant.name, generation, [ready, *found.parts, found.backup, found.isolated]
        ),
        "phase": _phase(ctx, tenant, ready).value,
        "server": home.server,
        "serverReason": home.reason,
        "url": naming.tenant_url(host, ctx.settings.external_port),
        "database": naming.tenant_database(tenant.name),
        "version": server.status.version if server else "",
        **cancellation.fields(ctx, tenant),
        **loss.fields(ctx, tenant, lost=found.lost, settled=found.settled),
        **changes.fields(ctx, tenant.metadata.uid),
    }
    if found.backup_status is not None:
        status["backup"] = found.backup_status
    if effective:
        status["observedGeneration"] = generation
    if await write_status(ctx, TENANT, tenant.name, status):
        await cancellation.tell(ctx, tenant, status)


def _size_took_effect(tenant: ElinkTenant, server: ElinkServer | None) -> bool:
    if tenant.spec.plan is Plan.SHARED:
        return True
    return server is not None and server.status.observed_generation == server.metadata.generation


def _phase(ctx: Context, tenant: ElinkTenant, ready: Condition) -> Phase:
    if ctx.world.restoring(tenant.name) is not None:
        return Phase.RESTORING
    if tenant.spec.state is State.CANCELLED:
        return Phase.CANCELLED
    if tenant.spec.state is State.SUSPENDED:
        return Phase.SUSPENDED
    if ready.status == "True":
        return Phase.ACTIVE
    return Phase.DEGRADED if tenant.status.observed_generation else Phase.PROVISIONING


def _next_look(ctx: Context, tenant: ElinkTenant, found: _Findings) -> float | None:
    waits = [found.retry_after, found.tell_again, cancellation.seconds_left(ctx, tenant)]
    if found.route.status != "True" or found.server.status != "True":
        waits.append(15.0)
    return min((w for w in waits if w is not None), default=None)


async def _failed(
    ctx: Context, tenant: ElinkTenant, reason: str, message: str, *, wait: Waiting | None = None
) -> Outcome:
    """Ready False with the reason; what else was known stays as it was.

    A cancellation counts all the same, or its undoing: the contract ends in time although the tenant cannot be served.
    """
    kept = {
        c.type: Condition(c.type, c.status.value, c.reason, c.message)
        for c in tenant.status.conditions
        if c.type != conditions.READY
    }
    if wait is not None:
        kept[conditions.SERVER_READY] = conditions.false(conditions.SERVER_READY, reason, message)
    ready = conditions.false(conditions.READY, reason, message)
    merged = conditions_of(ctx, TENANT, tenant.name, tenant.metadata.generation, [ready, *kept.values()])
    phase = _phase(ctx, tenant, ready)
    status = {
        "conditions": merged,
        "phase": (Phase.PENDING if phase is Phase.PROVISIONING else phase).value,
        **cancellation.fields(ctx, tenant),
        **changes.fields(ctx, tenant.metadata.uid),
    }
    if await write_status(ctx, TENANT, tenant.name, status):
        await cancellation.tell(ctx, tenant, status)
    tell_again = await letters.tell_contacts(ctx, tenant.name)
    waits = (wait.retry_after if wait else None, tell_again, cancellation.seconds_left(ctx, tenant))
    return Outcome(min((w for w in waits if w is not None), default=None))
