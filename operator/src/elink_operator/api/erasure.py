"""ElinkErasure: what was erased of a tenant, store by store, and that a second look found nothing."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from elink_operator.api.meta import Metadata
from elink_operator.api.schema import Part, Rule

KIND: Final = "ElinkErasure"
FIRST: Final = "0" * 64
"""What the first record of a chain names as the hash of the record before it."""

RECORD_FIXED: Final = Rule(
    "self == oldSelf", "the record of an erasure cannot be changed: it is evidence, and the next record holds its hash"
)

Jst = Annotated[str, Field(max_length=40)]
Sha256 = Annotated[str, Field(min_length=64, max_length=64)]
ShortText = Annotated[str, Field(max_length=253)]
Text = Annotated[str, Field(max_length=1024)]


class StoreErased(Part):
    """One place that held the tenant's data."""

    store: Annotated[str, Field(max_length=63)]
    """Kind of place, such as Route, Database, Directory, BackupGeneration, BackupKey, DeliveryJournals or Volume."""
    name: ShortText
    """Which one, such as a database's name."""
    removed: Text
    """What was found there and removed."""
    removed_at: Jst
    """When, in Japan Standard Time."""
    rechecked_at: Jst
    """When the store was asked again, in Japan Standard Time."""
    recheck: Text
    """What the second look found: nothing, or the record would not exist."""


class Remaining(Part):
    """What an erasure does not remove."""

    what: Text
    """What remains. Unless it is named as a copy, it holds no data of the customer."""
    until: Jst
    """Until when it is kept at the latest, in Japan Standard Time."""


class ErasureSpec(Part):
    """The record. Written once by the operator; nobody can change it."""

    RULES: ClassVar = (RECORD_FIXED,)

    sequence: Annotated[int, Field(ge=1)]
    """Place in the chain, without gaps."""
    tenant: Annotated[str, Field(max_length=63)]
    """Name of the erased tenant."""
    tenant_uid: Annotated[str, Field(max_length=63)]
    """Which of the tenants that ever bore the name."""
    plan: Annotated[str, Field(max_length=20)]
    """Shared or Dedicated."""
    server: Annotated[str, Field(max_length=63)]
    """Server that it lived on; empty when it never had a place."""
    cancelled_at: Jst
    """When it was cancelled; empty when it was deleted with a confirmation instead."""
    erase_after: Jst
    """When the time to undo ended; empty as above."""
    started_at: Jst
    """When the erasure began."""
    erased_at: Jst
    """When the last store had been asked again."""
    stores: Annotated[
        tuple[StoreErased, ...], Field(max_length=300, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ]
    """Every place that held data of the tenant."""
    neighbours: Text
    """What the count of the server's other tenants found afterwards."""
    remains: Annotated[
        tuple[Remaining, ...], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ]
    """What an erasure does not remove, and until when it is kept."""
    previous: Sha256
    """SHA-256 of the record before it; zeros in the first."""
    hash: Sha256
    """SHA-256 of this record: of `spec` without `hash`, as JSON with sorted keys and without spaces, in UTF-8."""


class ElinkErasure(Part):
    """Proof that a tenant was erased: per store what was removed, when, and that a second look found nothing."""

    metadata: Metadata
    spec: ErasureSpec


def record_name(sequence: int) -> str:
    """The name of a record: two records cannot take the same place in the chain."""
    return f"erasure-{sequence:08d}"


def hash_of(spec: Mapping[str, Any]) -> str:
    """The hash of a record as it is stored: canonical JSON of `spec` without `hash`."""
    body = {key: value for key, value in spec.items() if key != "hash"}
    text = json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def seal(spec: Mapping[str, Any]) -> dict[str, Any]:
    """`spec` with its hash."""
    return {**spec, "hash": hash_of(spec)}


@dataclass(frozen=True)
class Verdict:
    """What checking a chain found."""

    records: int
    head: str
    """Hash of the newest record: note it elsewhere, and records cut off from the end are noticed too."""
    broken: str = ""
    """The first record that is wrong."""
    problem: str = ""
    """What is wrong with it, as a sentence."""

    @property
    def intact(self) -> bool:
        """Whether every record is as it was written, and none between the first and the last is missing."""
        return not self.broken


def verify(objects: Iterable[Mapping[str, Any]], *, head: str = "") -> Verdict:
    """Check records as the API server has them. `head`, when given, is a hash that must occur in the chain."""
    records = sorted(objects, key=_sequence)
    previous, seen = FIRST, set()
    for place, record in enumerate(records, start=1):
        spec = record.get("spec") or {}
        name = str((record.get("metadata") or {}).get("name", "?"))
        problem = _problem(spec, name, place, previous)
        if problem:
            return Verdict(len(records), previous, name if _sequence(record) == place else record_name(place), problem)
        previous = str(spec["hash"])
        seen.add(previous)
    if head and head not in seen:
        return Verdict(
            len(records),
            previous,
            record_name(len(records) + 1),
            f"no record has the hash {head}: the newest are missing",
        )
    return Verdict(len(records), previous)


def _sequence(record: Mapping[str, Any]) -> int:
    value = (record.get("spec") or {}).get("sequence")
    return value if isinstance(value, int) else 0


def _problem(spec: Mapping[str, Any], name: str, place: int, previous: str) -> str:
    if spec.get("sequence") != place:
        return f"record {place} is missing; the next one that is there is {name}"
    if name != record_name(place):
        return f"it should be named {record_name(place)}"
    if spec.get("previous") != previous:
        return "it does not follow the record before it: one of the two was replaced"
    if spec.get("hash") != hash_of(spec):
        return "its content is not what its hash says: it was changed"
    return ""
