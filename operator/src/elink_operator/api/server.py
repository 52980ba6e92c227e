"""ElinkServer: one server, that is a namespace with web, worker, PostgreSQL, volumes and policies."""

from enum import StrEnum
from typing import Annotated, ClassVar, Final

from pydantic import Field

from elink_operator.api.backup import BackupStatus
from elink_operator.api.meta import Conditions, Recorded, Resource
from elink_operator.api.schema import (
    Cores,
    ImageTag,
    Memory,
    Part,
    Region,
    Rule,
    SecretName,
    Time,
    Volume,
    grow_only,
    immutable,
)

KIND: Final = "ElinkServer"
DEFAULT_MAX_TENANTS: Final = 200

TENANCY_FIXED: Final = immutable("spec.tenancy", "make a new server with the other tenancy")
REGION_FIXED: Final = Rule(
    "!has(oldSelf.region) || (has(self.region) && self.region == oldSelf.region)",
    "spec.region cannot be changed: pods and volumes stay in their region; make a new server there",
)


class Tenancy(StrEnum):
    """Who may live on a server."""

    SHARED = "Shared"
    DEDICATED = "Dedicated"


class DatabaseMode(StrEnum):
    """Where a server's PostgreSQL runs."""

    EMBEDDED = "Embedded"
    EXTERNAL = "External"


class AccessMode(StrEnum):
    """How many nodes may mount the file volume."""

    READ_WRITE_ONCE = "ReadWriteOnce"
    READ_WRITE_MANY = "ReadWriteMany"


class ResourceList(Part):
    """An amount of CPU and memory."""

    cpu: Cores | None = None
    """Cores, such as 500m or 2."""
    memory: Memory | None = None
    """Bytes, such as 512Mi."""


def _within(resource: str) -> Rule:
    return Rule(
        f"!has(self.requests) || !has(self.limits) || !has(self.requests.{resource}) || !has(self.limits.{resource})"
        f" || quantity(string(self.requests.{resource})).compareTo(quantity(string(self.limits.{resource}))) <= 0",
        f"requests.{resource} must not be larger than limits.{resource}: lower the request or raise the limit",
    )


class Resources(Part):
    """Requests and limits of one container. Naming `resources` replaces the defaults as a whole."""

    RULES: ClassVar = (_within("cpu"), _within("memory"))

    requests: ResourceList | None = None
    """What the scheduler sets aside."""
    limits: ResourceList | None = None
    """What the container may use at most; what is left out has no limit."""


def _resources(cpu: str, memory: str, cpu_limit: str, memory_limit: str) -> Resources:
    return Resources(
        requests=ResourceList(cpu=cpu, memory=memory), limits=ResourceList(cpu=cpu_limit, memory=memory_limit)
    )


class Autoscaling(Part):
    """Scale the web pods by CPU; `app.replicas` is then left to the autoscaler."""

    RULES: ClassVar = (Rule("self.min <= self.max", "autoscaling.min must not be larger than autoscaling.max"),)

    min: Annotated[int, Field(ge=1, le=50)] = 2
    """Fewest web pods."""
    max: Annotated[int, Field(ge=1, le=50)] = 6
    """Most web pods."""
    target_cpu: Annotated[int, Field(ge=10, le=95, alias="targetCPU")] = 70
    """Aim, in percent of the CPU request."""


class App(Part):
    """The web pods."""

    replicas: Annotated[int, Field(ge=0, le=50)] = 2
    """Web pods; two survive the loss of a node. The scale subresource (`kubectl scale es/NAME`) sets it, but for the
    server of a Dedicated tenant, which follows spec.size of the tenant."""
    autoscaling: Autoscaling | None = None
    """Let the number of pods follow the load."""
    resources: Resources = _resources("100m", "192Mi", "1", "512Mi")
    """Of each pod; a change of resources alone is applied without a restart where the cluster can."""


class Worker(Part):
    """The delivery workers."""

    replicas: Annotated[int, Field(ge=0, le=20)] = 1
    """Worker pods."""
    resources: Resources = _resources("50m", "160Mi", "1", "512Mi")
    """Of each pod."""


class SecretRef(Part):
    """A Secret in the management namespace."""

    name: SecretName
    """Name of the Secret."""


class Database(Part):
    """The server's PostgreSQL."""

    RULES: ClassVar = (
        Rule(
            "self.mode != 'External' || has(self.secretRef)",
            "database.secretRef is missing: an External database needs the name of a Secret in the management "
            "namespace with host, port, username and password",
        ),
        Rule(
            "self.mode != 'Embedded' || !has(self.secretRef)",
            "database.secretRef is for an External database only: remove it, or set database.mode to External",
        ),
    )

    mode: Annotated[
        DatabaseMode,
        immutable("database.mode", "make a new server and move its tenants there by backup and restore"),
    ] = DatabaseMode.EMBEDDED
    """Embedded: a PostgreSQL pod of this server. External: one that you run."""
    storage: Annotated[Volume, grow_only("database.storage")] = "10Gi"
    """Volume of an Embedded database; it can only grow."""
    resources: Resources = _resources("100m", "256Mi", "2", "1Gi")
    """Of an Embedded database's pod."""
    secret_ref: SecretRef | None = None
    """Access to an External database: keys host, port, username, password; ca.crt and sslmode for encryption."""


class Files(Part):
    """The file volume that web and worker share."""

    RULES: ClassVar = (
        Rule(
            "has(self.storageClassName) == has(oldSelf.storageClassName)",
            "files.storageClassName cannot be added or removed: a volume keeps its class",
        ),
    )

    size: Annotated[Volume, grow_only("files.size")] = "20Gi"
    """Size of the volume; it can only grow."""
    storage_class_name: (
        Annotated[
            str,
            Field(min_length=1, max_length=253),
            immutable("files.storageClassName", "a volume keeps its class; make a new server to change it"),
        ]
        | None
    ) = None
    """Storage class; without it the operator's setting, then the cluster's default."""
    access_mode: Annotated[
        AccessMode, immutable("files.accessMode", "a volume keeps its access mode; make a new server to change it")
    ] = AccessMode.READ_WRITE_ONCE
    """ReadWriteOnce keeps all pods of the server on one node; ReadWriteMany lets them spread."""


class Size(Part):
    """How large a server is."""

    app: App = App()
    """The web pods."""
    worker: Worker = Worker()
    """The delivery workers."""
    database: Database = Database()
    """PostgreSQL."""
    files: Files = Files()
    """The file volume."""


class ServerSpec(Size):
    """What the platform team wants of a server."""

    RULES: ClassVar = (
        REGION_FIXED,
        Rule(
            "self.tenancy != 'Dedicated' || !has(self.maxTenants) || self.maxTenants == 1",
            "spec.maxTenants of a Dedicated server is always 1: remove it",
        ),
    )

    tenancy: Annotated[Tenancy, TENANCY_FIXED]
    """Shared: many tenants. Dedicated: exactly one, made and owned by its tenant."""
    region: Region | None = None
    """Where pods and volumes are; without it the platform's default region."""
    version: ImageTag = ""
    """Tag of the app image. Empty: the operator's default when the server was made, pinned in status.version."""
    max_tenants: Annotated[int, Field(ge=1, le=2000)] | None = None
    """Most tenants of a Shared server; without it 200."""
    cordoned: bool = False
    """True: no new tenant is placed here; those present stay."""

    @property
    def capacity(self) -> int:
        """How many tenants may live here."""
        if self.tenancy is Tenancy.DEDICATED:
            return 1
        return DEFAULT_MAX_TENANTS if self.max_tenants is None else self.max_tenants


class AppStatus(Part):
    """What was seen of the web pods."""

    replicas: Annotated[int, Field(ge=0)] = 0
    """Web pods that exist; read by the scale subresource."""
    ready_replicas: Annotated[int, Field(ge=0)] = 0
    """Web pods that serve."""
    selector: Annotated[str, Field(max_length=512)] = ""
    """Label selector of the web pods, for the scale subresource."""


class WorkerStatus(Part):
    """What was seen of the workers."""

    replicas: Annotated[int, Field(ge=0)] = 0
    """Worker pods that exist."""
    ready_replicas: Annotated[int, Field(ge=0)] = 0
    """Worker pods that work."""


class ServerStatus(Part):
    """What the operator saw; written by the operator only."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The generation of the spec that has taken effect."""
    conditions: Conditions = ()
    """Ready, DatabaseReady, AppReady, WorkerReady, Isolated, BackupHealthy (of the server's own data)."""
    tenants: Annotated[int, Field(ge=0)] = 0
    """Tenants that live here."""
    version: Annotated[str, Field(max_length=128)] = ""
    """App version that runs; pinned when spec.version is empty."""
    region: Annotated[str, Field(max_length=63)] = ""
    """Region that pods and volumes are in."""
    namespace: Annotated[str, Field(max_length=63)] = ""
    """Namespace that holds the server."""
    app: AppStatus = AppStatus()
    """The web pods."""
    worker: WorkerStatus = WorkerStatus()
    """The workers."""
    migration: Annotated[str, Field(max_length=63)] = ""
    """Name of the migration Job that last succeeded."""
    backup: BackupStatus = BackupStatus()
    """What is really in the store of the server's own data, which belongs to no tenant."""
    recorded: Recorded | None = None
    """What the newest ElinkChange says."""
    last_reconcile_time: Time | None = None
    """When the status last changed."""


class ElinkServer(Resource):
    """A server: a namespace with the web app, delivery workers, one PostgreSQL and one file volume."""

    spec: ServerSpec
    status: ServerStatus = ServerStatus()
