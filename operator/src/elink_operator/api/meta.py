"""The parts of metadata and status that every elink resource shares."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import AwareDatetime, Field

from elink_operator.api.schema import NAME_RULE, Part, Rule, Time


class OwnerReference(Part):
    """The fields of a metav1.OwnerReference that the operator reads."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False


class Metadata(Part):
    """The fields of metav1.ObjectMeta that the operator reads."""

    name: str
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: AwareDatetime | None = None
    deletion_timestamp: AwareDatetime | None = None
    finalizers: tuple[str, ...] = ()
    labels: Annotated[dict[str, str], Field(default_factory=dict)]
    annotations: Annotated[dict[str, str], Field(default_factory=dict)]
    owner_references: tuple[OwnerReference, ...] = ()

    def controlled_by(self, kind: str, name: str, uid: str | None = None) -> bool:
        """True when the controller reference names this elink resource, of whatever uid when none is given."""
        return any(
            owner.controller and owner.kind == kind and owner.name == name and uid in (None, owner.uid)
            for owner in self.owner_references
        )


class Resource(Part):
    """What every elink resource that people make has; `spec` and `status` are its own."""

    RULES: ClassVar[tuple[Rule, ...]] = (NAME_RULE,)

    metadata: Metadata

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def deleting(self) -> bool:
        return self.metadata.deletion_timestamp is not None


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Part):
    """A metav1.Condition: what is true of the object, and why. Messages hold no timestamps or counters."""

    type: Annotated[str, Field(min_length=1, max_length=316)]
    """What the condition is about, such as Ready."""
    status: ConditionStatus
    """True, False or Unknown."""
    reason: Annotated[str, Field(min_length=1, max_length=1024)]
    """One CamelCase word for programs."""
    message: Annotated[str, Field(max_length=8192)] = ""
    """One sentence for people."""
    last_transition_time: AwareDatetime
    """When `status` last changed."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The generation of the spec that this condition is about."""


class Recorded(Part):
    """What the newest ElinkChange of the object says; the next one tells what differs from it."""

    generation: Annotated[int, Field(ge=0)] = 0
    """Generation of the spec that was recorded."""
    at: Time | None = None
    """When."""
    spec: Annotated[str, Field(max_length=65536)] = ""
    """That spec as JSON."""
    annotations: Annotated[str, Field(max_length=16384)] = ""
    """The annotations by people as JSON."""


Conditions = Annotated[
    tuple[Condition, ...],
    Field(
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    ),
]


def is_true(conditions: tuple[Condition, ...], type_: str) -> bool:
    """True only when the condition was set and is True."""
    found = find_condition(conditions, type_)
    return found is not None and found.status is ConditionStatus.TRUE


def find_condition(conditions: tuple[Condition, ...], type_: str) -> Condition | None:
    """The condition of a type, or None when it was never set."""
    return next((condition for condition in conditions if condition.type == type_), None)
