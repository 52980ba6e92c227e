"""ElinkTenant: one customer, that is one database, role, directory, host name and backup schedule on a server."""

from enum import StrEnum
from typing import Annotated, ClassVar, Final

from pydantic import Field

from elink_operator.api.backup import BackupStatus
from elink_operator.api.meta import Conditions, Recorded, Resource
from elink_operator.api.schema import (
    Allowance,
    DailyCron,
    DisplayName,
    Email,
    Host,
    Matches,
    ObjectName,
    Part,
    Reason,
    Region,
    Rule,
    Time,
)
from elink_operator.api.server import ElinkServer, SecretRef, Size

KIND: Final = "ElinkTenant"

SIZE_NEEDS_DEDICATED: Final = Rule(
    "self.plan == 'Dedicated' || !has(self.size)",
    "spec.size is for Dedicated tenants only: remove it; a Shared tenant has the size of its server",
)
PIN_NEEDS_SHARED: Final = Rule(
    "self.plan == 'Shared' || !has(self.server)",
    "spec.server is for Shared tenants only: remove it; a Dedicated tenant makes its own server",
)
REGION_FIXED: Final = Rule(
    "!has(oldSelf.region) || (has(self.region) && self.region == oldSelf.region)",
    "spec.region cannot be changed: the data stays where the customer was told; "
    "a move is a relocation to a new tenant in the other region",
)


class Plan(StrEnum):
    """What the customer bought."""

    SHARED = "Shared"
    DEDICATED = "Dedicated"


class State(StrEnum):
    """What the customer's contract says."""

    ACTIVE = "Active"
    SUSPENDED = "Suspended"
    CANCELLED = "Cancelled"


class Phase(StrEnum):
    """One word for a list; programs read the conditions."""

    PENDING = "Pending"
    PROVISIONING = "Provisioning"
    ACTIVE = "Active"
    DEGRADED = "Degraded"
    SUSPENDED = "Suspended"
    CANCELLED = "Cancelled"
    RESTORING = "Restoring"
    ERASING = "Erasing"


class Language(StrEnum):
    """Language of pages and mails to the customer."""

    JA = "ja"
    EN = "en"


class MasterAccount(Part):
    """The customer's first user, who registers all others."""

    email: Email
    """Where the one-time set-up link goes; also the log-in name."""


class Limits(Part):
    """What the customer may use."""

    addresses: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    """Address records."""
    mails_per_hour: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000
    """Mails that may leave in an hour."""
    storage: Allowance = "5Gi"
    """Files of the customer."""


class Backup(Part):
    """Daily backup."""

    schedule: DailyCron | None = None
    """Japan time; without it spread over the night by name."""
    generations: Annotated[int, Field(ge=7, le=90)] = 7
    """How many are kept; seven are promised."""


class Contacts(Part):
    """Whom to tell about changes and incidents."""

    emails: Annotated[tuple[Email, ...], Field(max_length=20, json_schema_extra={"x-kubernetes-list-type": "set"})] = ()
    """Mail addresses."""
    chatwork_room_id: (
        Annotated[
            str,
            Field(max_length=20),
            Matches(r"[0-9]+", "chatworkRoomId must be the room's number: the digits after '#!rid' in its address"),
        ]
        | None
    ) = None
    """The customer's Chatwork group."""


class Mail(Part):
    """How mails of the customer leave."""

    from_: Annotated[Email | None, Field(alias="from")] = None
    """Sender; without it the platform's."""
    reply_to: Email | None = None
    """Where answers go; without it to the sender."""
    smtp_secret_ref: SecretRef | None = None
    """Reserved; not used yet. The customer's own relay: keys host, port, username, password."""


class TenantSpec(Part):
    """What the customer bought and how it is set up."""

    RULES: ClassVar = (
        SIZE_NEEDS_DEDICATED,
        PIN_NEEDS_SHARED,
        Rule(
            "!has(oldSelf.size) || has(self.size) || self.plan == 'Shared'",
            "spec.size cannot be removed: volumes cannot shrink to the default size; keep it",
        ),
        REGION_FIXED,
        Rule(
            "oldSelf.hasValue() || self.state != 'Cancelled'",
            "spec.state of a new tenant must be Active or Suspended: there is nothing to cancel yet",
            optional_old_self=True,
        ),
    )

    plan: Plan
    """Shared: a place on a Shared server. Dedicated: a server of its own. A change moves the data: it is refused
    without the annotation elink-lc.com/move: "true"."""
    display_name: DisplayName
    """The customer's name as people read it: any script, 1 to 200 characters."""
    region: Region | None = None
    """Where the data is; without it the platform's default region."""
    host: Host | None = None
    """Host name; without it the tenant's name under the platform's domain."""
    master_account: MasterAccount
    """The customer's first user."""
    state: State = State.ACTIVE
    """Active; Suspended (a page says so, data kept); Cancelled (erased when the grace time is over)."""
    state_reason: Reason = ""
    """Why the tenant is Suspended, as its users read it on the page; of no effect in other states."""
    server: ObjectName | None = None
    """Pin a Shared tenant to this server; without it the operator chooses one with room. A change moves the data: it is
    refused without the annotation elink-lc.com/move: "true"."""
    size: Size | None = None
    """Size of a Dedicated tenant's server."""
    limits: Limits = Limits()
    """What the customer may use."""
    backup: Backup = Backup()
    """Daily backup."""
    contacts: Contacts = Contacts()
    """Whom to tell."""
    mail: Mail = Mail()
    """How mails leave."""
    language: Language = Language.JA
    """Language of pages and mails."""


class RestoreDrill(Part):
    """The last rehearsal of a restore."""

    at: Time | None = None
    """When it ended."""
    generation: Annotated[str, Field(max_length=32)] = ""
    """Which generation was restored."""
    result: Annotated[str, Field(max_length=32)] = ""
    """Succeeded: rows and files were the same. Failed: see message."""
    proven_at: Time | None = None
    """When a rehearsal last succeeded."""
    seconds: Annotated[int, Field(ge=0)] = 0
    """How long it took."""
    data_age_seconds: Annotated[int, Field(ge=0)] = 0
    """Age of the generation when it began: what a restore at that moment would have lost."""
    rows: Annotated[int, Field(ge=0)] = 0
    """Rows compared."""
    files: Annotated[int, Field(ge=0)] = 0
    """Files compared."""
    restore: Annotated[str, Field(max_length=63)] = ""
    """The ElinkRestore."""
    message: Annotated[str, Field(max_length=1024)] = ""
    """What was compared, or what failed."""


class ErasedStore(Part):
    """What a step found in one place and removed; goes into the ElinkErasure."""

    store: Annotated[str, Field(min_length=1, max_length=63)]
    """Kind of place, such as Database or BackupGeneration."""
    name: Annotated[str, Field(max_length=253)] = ""
    """Which one."""
    removed: Annotated[str, Field(max_length=1024)] = ""
    """What was removed."""


class ErasureStep(Part):
    """One step of the erasure."""

    name: Annotated[str, Field(min_length=1, max_length=63)]
    """What is removed, such as Route, Database or Backups."""
    done: bool = False
    """Removed, and a second look found nothing."""
    at: Time | None = None
    """When it was done."""
    rechecked_at: Time | None = None
    """When the source was last asked again, and had nothing."""
    message: Annotated[str, Field(max_length=1024)] = ""
    """What was removed, or what holds it."""
    stores: Annotated[
        tuple[ErasedStore, ...], Field(max_length=200, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = ()
    """What was removed, place by place."""


class NeighbourTables(Part):
    """What the other tenants of the server had before the erasure."""

    tables: Annotated[tuple[Annotated[str, Field(max_length=63)], ...], Field(max_length=256)] = ()
    """Names of all tables."""
    databases: Annotated[dict[str, Annotated[str, Field(max_length=150)]], Field(max_length=4000)]
    """Database: its oid; as hexadecimal bits (the lowest is the first table) which tables it has, which hold rows."""


class Erasure(Part):
    """How far the erasure is; the tenant is held until every step is done."""

    started_at: Time | None = None
    """When it began."""
    steps: Annotated[
        tuple[ErasureStep, ...],
        Field(
            max_length=32, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
        ),
    ] = ()
    """In order."""
    neighbours: Annotated[dict[str, Annotated[int, Field(ge=0)]], Field(max_length=4000)] | None = None
    """Rows of every other tenant's database on the server, counted before anything was removed; for people."""
    neighbour_tables: NeighbourTables | None = None
    """What is compared afterwards: a database that is gone or was replaced, a table that is gone, or one that held rows
    and holds none, stops all erasures on the server. Other differences are no harm: customers go on working."""
    harm: Annotated[str, Field(max_length=1024)] = ""
    """What other tenants lacked when they were compared; all erasures on the server wait until a person has looked."""


class CancellationStatus(Part):
    """What the contacts were told of a cancellation."""

    at: Time
    """Which one: its cancelledAt."""
    told: Annotated[
        tuple[Annotated[str, Field(max_length=63)], ...],
        Field(max_length=8, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = ()
    """Letters that the relay accepted: Cancelled, DaysLeft7, DaysLeft1. Gone when the undoing was told."""


class TenantStatus(Part):
    """What the operator saw; written by the operator only."""

    RULES: ClassVar = (
        Rule(
            "!has(self.eraseAfter) || (has(self.cancelledAt) && self.eraseAfter >= self.cancelledAt"
            " && self.eraseAfter - self.cancelledAt <= duration('720h'))",
            "status.eraseAfter must be at most 30 days after status.cancelledAt: later would break the promise",
        ),
        Rule(
            "!has(oldSelf.eraseAfter) || !has(self.eraseAfter) || self.eraseAfter <= oldSelf.eraseAfter",
            "status.eraseAfter cannot be put off: erase in time, or undo the cancellation",
        ),
    )

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The generation of the spec that has taken effect."""
    phase: Phase = Phase.PENDING
    """One word for a list."""
    conditions: Conditions = ()
    """Ready, ServerReady, DatabaseReady, RouteReady, BackupHealthy, Isolated."""
    server: Annotated[str, Field(max_length=63)] = ""
    """Server that the tenant lives on."""
    server_reason: Annotated[str, Field(max_length=1024)] = ""
    """Why this server was chosen."""
    url: Annotated[str, Field(max_length=300)] = ""
    """Where users log in."""
    database: Annotated[str, Field(max_length=63)] = ""
    """Name of the tenant's database."""
    database_lost_at: Time | None = None
    """When the database was found to be gone. None is made in its place until the annotation
    elink-lc.com/recreate-database has this value, or the database is back."""
    version: Annotated[str, Field(max_length=128)] = ""
    """App version that serves the tenant."""
    backup: BackupStatus = BackupStatus()
    """What is really in the backup store."""
    restore_drill: RestoreDrill | None = None
    """The last rehearsal of a restore."""
    cancelled_at: Time | None = None
    """When the tenant was cancelled."""
    erase_after: Time | None = None
    """When it will be erased, to the second: the time to undo (14 days of 24 hours) after cancelledAt, so at the same
    time of day in Japan. Until then the cancellation can be undone."""
    cancellation: CancellationStatus | None = None
    """What the contacts were told."""
    erasure: Erasure | None = None
    """How far the erasure is."""
    recorded: Recorded | None = None
    """What the newest ElinkChange says."""
    last_reconcile_time: Time | None = None
    """When the status last changed."""


class ElinkTenant(Resource):
    """A customer: one database, database role, directory, host name, backup schedule and master account."""

    spec: TenantSpec
    status: TenantStatus = TenantStatus()

    def owns(self, server: ElinkServer) -> bool:
        """Whether the server's controller is this very tenant, not an earlier one of the same name."""
        return server.metadata.controlled_by(KIND, self.name, self.metadata.uid)
