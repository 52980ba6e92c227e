"""`metav1.Condition` lists: stable order, times that move only when a status flips, nothing that changes by itself."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

Status = Literal["True", "False", "Unknown"]

READY: Final = "Ready"
SERVER_READY: Final = "ServerReady"
DATABASE_READY: Final = "DatabaseReady"
ROUTE_READY: Final = "RouteReady"
BACKUP_HEALTHY: Final = "BackupHealthy"
ISOLATED: Final = "Isolated"
APP_READY: Final = "AppReady"
WORKER_READY: Final = "WorkerReady"

CHANGING: Final = "Changing"
"""The reason of a server's Ready while it serves and a change is not in effect everywhere."""
UPDATE_STUCK: Final = "UpdateStuck"
"""The reason of AppReady or WorkerReady when old pods serve and the new ones do not become ready."""

NEIGHBOURS_HARMED: Final = "NeighboursHarmed"
"""The reason of Ready that stops all erasures on a server (docs/adr/0014)."""

_REASON: Final = re.compile(r"^[A-Z][A-Za-z0-9]*$")
_MESSAGE_LIMIT: Final = 1024


@dataclass(frozen=True)
class Condition:
    """What is known about one aspect.

    The reason is one CamelCase word; the message is a sentence for a human without times or counters, so that an
    unchanged situation is an unchanged status.
    """

    type: str
    status: Status
    reason: str
    message: str = ""

    def __post_init__(self) -> None:
        if not _REASON.match(self.reason):
            raise ValueError(f"reason {self.reason!r} of condition {self.type} is not CamelCase")


def true(type_: str, reason: str, message: str = "") -> Condition:
    """The aspect is fine."""
    return Condition(type_, "True", reason, message)


def false(type_: str, reason: str, message: str) -> Condition:
    """The aspect is not fine (yet); the message says what is waited for or what to do."""
    return Condition(type_, "False", reason, message)


def unknown(type_: str, reason: str, message: str) -> Condition:
    """Nothing is known; never to be read as fine."""
    return Condition(type_, "Unknown", reason, message)


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with seconds, as the API server writes `metav1.Time`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_timestamp(text: str) -> datetime:
    """The inverse of `timestamp`; fractions of a second are accepted."""
    return datetime.fromisoformat(text)


def merge(
    previous: Sequence[Mapping[str, Any]],
    wanted: Iterable[Condition],
    *,
    now: datetime,
    generation: int,
) -> list[dict[str, Any]]:
    """The new list of conditions, sorted by type.

    `lastTransitionTime` is kept from `previous` unless the status flipped. Types that are not wanted any more go.
    """
    known = {str(c.get("type")): c for c in previous}
    merged = []
    for condition in sorted(wanted, key=lambda c: c.type):
        old = known.get(condition.type)
        kept = old.get("lastTransitionTime") if old and old.get("status") == condition.status else None
        merged.append(
            {
                "type": condition.type,
                "status": condition.status,
                "reason": condition.reason,
                "message": condition.message[:_MESSAGE_LIMIT],
                "lastTransitionTime": kept or timestamp(now),
                "observedGeneration": generation,
            }
        )
    return merged


def find(conditions: Sequence[Mapping[str, Any]], type_: str) -> Mapping[str, Any] | None:
    """The condition of a type, or None."""
    return next((c for c in conditions if c.get("type") == type_), None)


def is_true(conditions: Sequence[Mapping[str, Any]], type_: str) -> bool:
    """True only when the condition exists with status `True`."""
    found = find(conditions, type_)
    return found is not None and found.get("status") == "True"


def summarize(parts: Iterable[Condition], *, fine: str) -> Condition:
    """`Ready` from its parts: the first that is not True gives reason and message.

    A part that is Unknown makes Ready False: what is not known to work is not announced as working.
    """
    for part in parts:
        if part.status != "True":
            return false(READY, part.reason, part.message)
    return true(READY, "AsDeclared", fine)
