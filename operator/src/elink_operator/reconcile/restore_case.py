"""One restore as a run sees it: whose data, into which place, and the ways to reach both."""

from dataclasses import dataclass, replace
from datetime import datetime

from elink_operator import conditions, naming
from elink_operator.api import ElinkRestore, ElinkServer, ElinkTenant
from elink_operator.api.admission import is_to_be_erased
from elink_operator.cluster.errors import NotFound
from elink_operator.cluster.kinds import JOB, Obj
from elink_operator.database import ServerDb, TenantDb
from elink_operator.desired.inputs import ServerInputs, TenantInputs
from elink_operator.desired.restore import RestoreInputs
from elink_operator.desired.store import repository_of
from elink_operator.reconcile.access import find_access
from elink_operator.reconcile.context import Context
from elink_operator.reconcile.errors import Waiting
from elink_operator.reconcile.jobs import pods_of
from elink_operator.reconcile.placing import home_of
from elink_operator.reconcile.rows import server_row, tenant_row


class RestoreFailed(Exception):
    """The restore cannot go on: it turns back. `reason` is CamelCase, the message a sentence for people.

    `facts`: what the status should say of it.
    """

    def __init__(self, reason: str, message: str, facts: Obj | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.facts = facts or {}


def deletion_of(tenant: ElinkTenant) -> RestoreFailed:
    """Why a restore ends with the deletion of a tenant: only one that somebody has confirmed erases anything."""
    if is_to_be_erased(tenant):
        return RestoreFailed("TenantErased", f"tenant {tenant.name} is being erased")
    return RestoreFailed("TenantDeleted", f"tenant {tenant.name} was deleted, which nobody has confirmed")


@dataclass(frozen=True)
class Place:
    """A tenant's place on its server, with the log-ins."""

    server: ElinkServer
    inputs: RestoreInputs
    server_db: ServerDb
    held: TenantDb
    """The tenant's row while it is out of service."""

    @property
    def namespace(self) -> str:
        return self.inputs.target.namespace


@dataclass(frozen=True)
class Case:
    """What a step works with."""

    ctx: Context
    restore: ElinkRestore

    @property
    def now(self) -> datetime:
        return self.ctx.clock()

    @property
    def stamp(self) -> str:
        return conditions.timestamp(self.ctx.clock())

    @property
    def source(self) -> ElinkTenant | None:
        """Whose data is restored; None when it is gone."""
        return self.ctx.world.tenants.get(self.restore.spec.tenant)

    @property
    def target(self) -> ElinkTenant | None:
        """Whose place is filled; None when it is gone, or not made yet."""
        return self.ctx.world.tenants.get(self.restore.target)

    def live_source(self) -> ElinkTenant:
        """The source, or RestoreFailed when it is gone or going: an erased tenant cannot come back."""
        source = self.source
        if source is None:
            raise RestoreFailed("TenantErased", f"tenant {self.restore.spec.tenant} is gone")
        if source.deleting:
            raise deletion_of(source)
        return source

    async def place(self) -> Place:
        """The place that is filled. Raises Waiting while its server cannot be used."""
        if self.restore.spec.move is not None:
            return await self._place_on(self.restore.spec.move.server)
        return await self._place_on(self._home())

    async def place_left(self) -> Place:
        """Where the tenant works until its data is replaced or moved. Raises Waiting as `place` does."""
        return await self._place_on(self.restore.status.source_server or self._home())

    def _home(self) -> str:
        home = home_of(self.target) if self.target is not None else None
        return home.server if home is not None else ""

    async def _place_on(self, name: str) -> Place:
        tenant, server = self.target, self.ctx.world.servers.get(name)
        if tenant is None or server is None:
            raise Waiting("ServerMissing", f"tenant {self.restore.target} has no server {name} yet; it is waited for")
        access = await find_access(self.ctx, server)
        if access is None or not server.status.migration:
            raise Waiting("ServerNotReady", f"server {server.name} is not prepared; it is waited for")
        ctx = self.ctx
        target = TenantInputs(
            tenant, server.name, ctx.settings, access, region=ctx.world.region(server.spec), maintenance=True
        )
        app = ServerInputs(
            server=server,
            settings=ctx.settings,
            version=server.status.version,
            endpoint=access.endpoint,
            postgres_image=ctx.settings.postgres_image,
        )
        # Without a source (it was erased meanwhile) only the target's own place is looked at any more.
        source = self.source or tenant
        store = repository_of(source.name, ctx.settings)
        if self.lender(server.name) is not None:
            uid = self.restore.metadata.uid
            borrowed = {naming.borrowed_secret(uid, name): keys for name, keys in store.secrets.items()}
            store = replace(store, secrets=borrowed)
        inputs = RestoreInputs(self.restore, source, target, app, store)
        held = tenant_row(target, token_sha256="", token_expires=None)
        return Place(server, inputs, server_row(server, access), held)

    def lender(self, server: str) -> str | None:
        """The namespace of the source's Secrets when the restore runs on another server; None on the same.

        A move borrows nothing: its target gets Secrets of its own.
        """
        if self.restore.spec.move is not None:
            return None
        source = self.source
        home = home_of(source) if source is not None else None
        return naming.server_namespace(home.server) if home is not None and home.server != server else None

    async def job(self, place: Place, what: str) -> Obj | None:
        """One of the restore's Jobs as the API server has it."""
        name = naming.restore_job(self.restore.metadata.uid, what)
        try:
            return await self.ctx.client.get(JOB, name, place.namespace)
        except NotFound:
            return None

    async def pods(self, place: Place, what: str) -> list[Obj]:
        """The pods of one of them."""
        return await pods_of(self.ctx, place.namespace, naming.restore_job(self.restore.metadata.uid, what))
