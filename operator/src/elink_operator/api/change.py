"""ElinkChange: one change of a tenant or server: who, what, before, after."""

from typing import Annotated, ClassVar, Final

from pydantic import Field

from elink_operator.api.erasure import Jst
from elink_operator.api.meta import Metadata
from elink_operator.api.schema import Part, Rule

KIND: Final = "ElinkChange"
MOST_FIELDS: Final = 64
LONGEST_VALUE: Final = 200
LONGEST_WHO: Final = 200
LONGEST_SUMMARY: Final = 400

CHANGE_FIXED: Final = Rule("self == oldSelf", "the record of a change cannot be changed: it says what was, and who")

Value = Annotated[str, Field(max_length=LONGEST_VALUE)]


class FieldChange(Part):
    """One field of the spec, or one annotation, before and after."""

    field: Annotated[str, Field(max_length=253)]
    """Path such as limits.addresses."""
    before: Value
    """Value before; empty when there was none. Of names, addresses and texts of people the first character only."""
    after: Value
    """Value after; empty when it was removed."""


class ChangeSpec(Part):
    """The record. Written once by the operator; nobody can change it."""

    RULES: ClassVar = (CHANGE_FIXED,)

    at: Jst
    """When the operator saw the change, in Japan Standard Time."""
    who: Annotated[str, Field(max_length=LONGEST_WHO)]
    """User of the request, as the API server knows it; the operator for what it did by itself."""
    what: Annotated[str, Field(max_length=63)]
    """One word such as Created, Changed, Suspended, Cancelled, CancellationUndone, Resized, Upgraded or Erased."""
    kind: Annotated[str, Field(max_length=63)]
    """ElinkTenant or ElinkServer."""
    name: Annotated[str, Field(max_length=63)]
    """Name of the tenant or server."""
    uid: Annotated[str, Field(max_length=63)]
    """Which of those that ever bore the name."""
    generation: Annotated[int, Field(ge=0)]
    """Generation of the spec after the change."""
    since: Annotated[int, Field(ge=0)]
    """Generation of the spec before it; more than one apart when changes came faster than they were recorded."""
    summary: Annotated[str, Field(max_length=LONGEST_SUMMARY)]
    """The change in one sentence."""
    fields: Annotated[
        tuple[FieldChange, ...], Field(max_length=MOST_FIELDS, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ]
    """What differs."""


class ElinkChange(Part):
    """One change of a tenant or server: who, what, before and after. The operator removes it after a set time."""

    metadata: Metadata
    spec: ChangeSpec
