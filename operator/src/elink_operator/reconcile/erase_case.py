"""One erasure as a run of it sees it, what a step proves, and what holds it. The steps are in `erase_steps`."""

from dataclasses import dataclass

from elink_operator import naming
from elink_operator.api import ElinkServer, ElinkTenant
from elink_operator.api.server import DatabaseMode, Size
from elink_operator.api.tenant import ErasedStore, Plan
from elink_operator.cluster.kinds import PVC, SECRET, SERVER
from elink_operator.database import CensusRecord
from elink_operator.desired.store import on_volumes
from elink_operator.reconcile.context import Context
from elink_operator.reconcile.placing import Home, home_of

FILES_STEP = "FilesAndBackups"
SERVER_BACKUPS_STEP = "ServerBackups"
BUCKET_STEP = "BackupBucket"
RESIDUE_STEP = "DatabaseResidue"


class Hold(Exception):
    """Something is left or unknown: the finalizer stays. The message says what, and what a human can do."""

    def __init__(self, message: str, *, reason: str = "Erasing", retry_after: float = 3) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after


def unreadable(server: str) -> Hold:
    """What an erasure waits for when nobody can read the tenant's server."""
    return Hold(
        f"ElinkServer {server} cannot be read by this operator, so nobody can look whether the tenant's data is gone: "
        "correct it",
        reason="ServerNotReadable",
        retry_after=60,
    )


@dataclass(frozen=True)
class Evidence:
    """What a step did: a sentence, and what was removed place by place. A second look found nothing of it."""

    message: str
    stores: tuple[ErasedStore, ...] = ()


@dataclass
class Case:
    """One tenant's erasure as this run sees it."""

    ctx: Context
    tenant: ElinkTenant
    home: Home | None
    server: ElinkServer | None
    neighbours: dict[str, int] | None = None
    counted: CensusRecord | None = None
    """The neighbours before anything was removed. The status keeps it, so that a restart forgets nothing."""
    harm: str | None = None
    """What other tenants lack after it; None while this run has not compared them."""
    asked_by: str = ""
    """uid of what erases the tenant's traces on a server although the tenant lives on: a move."""

    @classmethod
    def of(cls, ctx: Context, tenant: ElinkTenant) -> "Case":
        """Gather what is known."""
        home = home_of(tenant)
        server = ctx.world.servers.get(home.server) if home else None
        known = tenant.status.erasure
        rows = dict(known.neighbours) if known and known.neighbours is not None else None
        kept = known.neighbour_tables if known else None
        return cls(ctx, tenant, home, server, rows, CensusRecord(kept.tables, kept.databases) if kept else None)

    @property
    def request(self) -> str:
        """Names this erasure; a move's is another one, although the tenant is the same."""
        return self.asked_by or self.tenant.metadata.uid

    @property
    def dedicated(self) -> bool:
        """Whether the server that the tenant lives on is its own; by its plan when the server is gone."""
        if self.server is not None:
            return self.tenant.owns(self.server)
        alone = self.home is None or self.home.server == self.tenant.name
        return self.tenant.spec.plan is Plan.DEDICATED and alone

    @property
    def external(self) -> bool:
        """Whether the database lives outside the server's namespace."""
        size: Size | None = self.server.spec if self.server else self.tenant.spec.size
        return size is not None and size.database.mode is DatabaseMode.EXTERNAL

    @property
    def backups_volume(self) -> bool:
        """Whether the server has a volume for backups: also one from before they went into buckets."""
        return on_volumes(self.ctx.settings) or bool(self.ctx.store.get(PVC, self.namespace, naming.BACKUPS_VOLUME))

    @property
    def has_bucket(self) -> bool:
        """Whether backups may lie in a bucket: also in one from before they went onto volumes."""
        login = self.ctx.store.get(SECRET, self.namespace, naming.backup_store_secret(self.tenant.name))
        known = self.tenant.status.erasure.steps if self.tenant.status.erasure else ()
        erased = any(step.name == BUCKET_STEP for step in known)
        return not on_volumes(self.ctx.settings) or login is not None or erased

    @property
    def nothing_was_made(self) -> bool:
        """The server never came so far that a tenant could have been made on it."""
        return (
            self.server is not None
            and not self.dedicated
            and not self.server.status.migration
            and not self.tenant.status.observed_generation
            and not self.ctx.store.by_tenant(self.tenant.name)
        )

    @property
    def namespace(self) -> str:
        return naming.server_namespace(self.home.server if self.home else self.tenant.name)

    def present_server(self) -> ElinkServer:
        """The server, or Hold: without it nobody can look whether the data is gone."""
        if self.server is None and self.home is not None and (SERVER.kind, self.home.server) in self.ctx.world.unread:
            raise unreadable(self.home.server)
        if self.server is None:
            name = self.home.server if self.home else "?"
            raise Hold(
                f"ElinkServer {name} no longer exists, so nobody can look whether the tenant's database and files are "
                "gone. Create the server again with the same database, or make sure by hand and remove the finalizer "
                f"{naming.FINALIZER}",
                reason="ServerMissing",
                retry_after=60,
            )
        return self.server
