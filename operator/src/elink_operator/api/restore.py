"""ElinkRestore: bringing a generation of a tenant back, into its place, beside it, or to prove that it can be done."""

from enum import StrEnum
from typing import Annotated, ClassVar, Final

from pydantic import Field

from elink_operator import naming
from elink_operator.api.meta import Conditions, Resource
from elink_operator.api.schema import Matches, ObjectName, Part, Rule, Time

KIND: Final = "ElinkRestore"
LATEST: Final = "latest"

SPEC_FIXED: Final = Rule("self == oldSelf", "the spec of a restore cannot be changed: delete it and make another one")
AS_NEW_TOGETHER: Final = Rule(
    "(self.mode == 'AsNew') == has(self.asNew)",
    "spec.asNew belongs to mode AsNew: give it there with the name of the new tenant, and nowhere else",
)


MOVE_TOGETHER: Final = Rule(
    "(self.mode == 'Move') == has(self.move)",
    "spec.move belongs to mode Move, which the operator makes when spec.plan or spec.server of a tenant is changed",
)


class Mode(StrEnum):
    """What the restored data is for."""

    IN_PLACE = "InPlace"
    AS_NEW = "AsNew"
    DRILL = "Drill"
    MOVE = "Move"


class RestorePhase(StrEnum):
    """One word for a list; programs read the condition Complete."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    ROLLED_BACK = "RolledBack"


class RestoreStep(StrEnum):
    """What a restore is doing. The names are API: runbooks and `status.step` use them."""

    SAFETY_BACKUP = "SafetyBackup"
    MAKE_TENANT = "MakeTenant"
    PREPARE_TARGET = "PrepareTarget"
    MAINTENANCE = "Maintenance"
    RESTORE = "Restore"
    SWITCH_FILES = "SwitchFiles"
    SWITCH_DATABASE = "SwitchDatabase"
    MOVE_HOME = "MoveHome"
    VERIFY = "Verify"
    KEEP_OLD = "KeepOld"
    REMOVE_OLD = "RemoveOld"
    REMOVE_SOURCE = "RemoveSource"
    RETURN_DATABASE = "ReturnDatabase"
    RETURN_FILES = "ReturnFiles"
    REMOVE_SCRATCH = "RemoveScratch"
    REMOVE_TARGET = "RemoveTarget"
    DONE = "Done"


HELD: Final = frozenset(
    {
        RestoreStep.MAINTENANCE,
        RestoreStep.RESTORE,
        RestoreStep.SWITCH_FILES,
        RestoreStep.SWITCH_DATABASE,
        RestoreStep.RETURN_DATABASE,
        RestoreStep.RETURN_FILES,
    }
)
"""Steps in which the tenant whose data is replaced is out of service."""

HELD_IN_MOVE: Final = HELD | {RestoreStep.SAFETY_BACKUP, RestoreStep.MOVE_HOME}
"""The same of a move: its backup is the last state, so nobody may change anything from then on."""

FINISHED: Final = frozenset({RestorePhase.SUCCEEDED, RestorePhase.FAILED, RestorePhase.ROLLED_BACK})


class AsNew(Part):
    """The tenant that a restore makes."""

    tenant: ObjectName
    """Name of the new tenant; none may have it yet."""
    server: ObjectName | None = None
    """Pin it to this server; without it where the store can be reached."""


class MoveTo(Part):
    """Where a tenant moves to."""

    server: ObjectName
    """The server that it will live on."""
    from_backup: bool = False
    """Its server is lost: the newest generation in the store is moved, without a last backup."""


class RestoreSpec(Part):
    """Which data goes where. Cannot be changed."""

    RULES: ClassVar = (SPEC_FIXED, AS_NEW_TOGETHER, MOVE_TOGETHER)

    tenant: ObjectName
    """Whose data."""
    generation: Annotated[
        str,
        Field(max_length=32),
        Matches(
            rf"latest|{naming.GENERATION_PATTERN}",
            "generation must be 'latest' or the name of a generation such as '20260131T170000Z' (UTC)",
        ),
    ] = LATEST
    """Which generation: its name (when its backup began, UTC), or latest: the newest, but for those that restores
    InPlace made of what they were about to replace (status.safetyBackup)."""
    mode: Mode
    """InPlace: replaces the tenant's data. AsNew: a copy under another name, without mails. Drill: proves that it works
    and leaves nothing. Move: to another server; made by the operator only."""
    as_new: AsNew | None = None
    """The new tenant, for mode AsNew."""
    move: MoveTo | None = None
    """The other server, for mode Move."""


class RestoreStatus(Part):
    """How far it is and what was compared; written by the operator only."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The generation of the spec that was read."""
    phase: RestorePhase = RestorePhase.PENDING
    """Pending, Running, Succeeded, Failed (the tenant was not touched), RolledBack (it has its old data again)."""
    step: Annotated[str, Field(max_length=63)] = ""
    """What is being done; steps are repeated after a restart."""
    step_since: Time | None = None
    """When this step began."""
    attempt: Annotated[int, Field(ge=0)] = 0
    """How often reading the generation was begun."""
    conditions: Conditions = ()
    """Complete."""
    generation: Annotated[str, Field(max_length=32)] = ""
    """The generation that was restored."""
    generation_made: Time | None = None
    """When its backup began: what changed later is not in it."""
    rows: Annotated[int, Field(ge=0)] | None = None
    """Rows compared."""
    tables: Annotated[int, Field(ge=0)] | None = None
    """Tables compared."""
    files: Annotated[int, Field(ge=0)] | None = None
    """Files compared."""
    held: Annotated[int, Field(ge=0)] | None = None
    """Deliveries and mails that were stopped, so that nothing is sent again unasked."""
    different: Annotated[
        tuple[Annotated[str, Field(max_length=200)], ...],
        Field(max_length=20, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = ()
    """What was not as in the backup; the first twenty. Files are counted, not named."""
    started_at: Time | None = None
    """When the work began."""
    maintenance_at: Time | None = None
    """When the tenant went out of service."""
    source_server: Annotated[str, Field(max_length=63)] = ""
    """Of a move: the server that the tenant leaves."""
    down_seconds: Annotated[int, Field(ge=0)] | None = None
    """From maintenanceAt until the tenant was served again."""
    finished_at: Time | None = None
    """When the result was known."""
    duration_seconds: Annotated[int, Field(ge=0)] | None = None
    """From startedAt to finishedAt."""
    data_age_seconds: Annotated[int, Field(ge=0)] | None = None
    """Age of the generation when the work began: what a restore at that moment loses."""
    safety_backup: Annotated[str, Field(max_length=253)] = ""
    """The generation that was made just before the data was replaced, or why there is none."""
    old_data_until: Time | None = None
    """When the replaced data is removed."""
    failure: Annotated[str, Field(max_length=64)] = ""
    """Why it failed, in one word."""
    message: Annotated[str, Field(max_length=1024)] = ""
    """The result, or what failed, for people."""
    last_reconcile_time: Time | None = None
    """When the status last changed."""


class ElinkRestore(Resource):
    """Brings a generation of a tenant's data back: InPlace, AsNew under another name, or as a Drill."""

    spec: RestoreSpec
    status: RestoreStatus = RestoreStatus()

    @property
    def target(self) -> str:
        """The tenant whose database and files are written: the tenant itself, or the new one."""
        return self.spec.as_new.tenant if self.spec.as_new is not None else self.spec.tenant

    @property
    def finished(self) -> bool:
        """The result is known; data that was replaced may still be kept."""
        return self.status.phase in FINISHED

    @property
    def running(self) -> bool:
        return self.status.phase is RestorePhase.RUNNING

    @property
    def holds_target(self) -> bool:
        """Whether the target is out of service because its data is being replaced (or returned)."""
        held = HELD_IN_MOVE if self.spec.mode is Mode.MOVE else HELD
        return self.running and self.spec.mode is not Mode.DRILL and self.status.step in held

    @property
    def keeps_old(self) -> bool:
        """Whether the data that was replaced is still there."""
        return self.status.step in {RestoreStep.KEEP_OLD, RestoreStep.REMOVE_OLD, RestoreStep.REMOVE_SOURCE}

    @property
    def goes_on_as_it_was(self) -> bool:
        """Whether the restored data is the last state, so that deliveries may go on without being asked."""
        return self.spec.move is not None and not self.spec.move.from_backup

    @property
    def from_backup(self) -> bool:
        """Whether this moves what the store has, because the tenant's server is lost."""
        return self.spec.move is not None and self.spec.move.from_backup

    @property
    def moves(self) -> bool:
        """Whether this is a move that is not over: the tenant is on two servers."""
        return self.spec.mode is Mode.MOVE and (not self.finished or self.keeps_old)
