"""What the Jobs of a restore report, and what is known of a rehearsal. Pure: texts in, facts out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

Obj = Mapping[str, Any]

_SHOWN: Final = 20
_FILE: Final = "file "

_ADVICE: Final[Mapping[str, str]] = {
    "GenerationMissing": "there is no such generation in the store: 'kubectl get et' shows when the newest was made",
    "Different": "what was restored is not what was backed up: take another generation, and look at the store",
    "StoreAway": "the backup store cannot be reached",
    "StoreFull": "the backup store is full",
    "StoreReadOnly": "the backup store cannot be written, which reading needs for its lock",
    "StoreTooSlow": "the backup store is too slow: a command on it did not end in hours",
    "StoreDamaged": "the generation cannot be read back from the store: take another one, and look at the store",
    "WrongKey": "the key does not open the repository: bring back the Secret with the key of the backups",
    "WrongLogin": "the backup store refuses the log-in",
    "ScratchFull": "no room for what is restored: on the node (in a drill), on the volume of files or on PostgreSQL's",
    "DatabaseAway": "the database cannot be reached from the Job",
    "FilesUnreadable": "files cannot be read or written",
    "StillRunning": "a backup of the tenant did not end",
    "BackupFailed": "a program of the Job failed; see its log",
    "MigrationFailed": "the restored database cannot be brought to the server's version; see the Job's log",
    "DisarmFailed": "deliveries in the restored database could not be stopped; see the Job's log",
    "JobLost": "the Job's pod ended without a word (a node went, or it was killed)",
    "TimedOut": "the Job took too long and was ended",
}
"""The reasons that the operator knows: a Job cannot write a condition of its own."""

_AGAIN: Final = frozenset({"StoreAway", "DatabaseAway", "StillRunning", "JobLost"})
"""What may pass by itself: the generation is read again, into an empty place."""


@dataclass(frozen=True)
class RestoreReport:
    """What was restored and compared. `made` is RFC 3339."""

    generation: str
    made: str
    rows: int
    tables: int
    files: int
    different: tuple[str, ...] = ()


@dataclass(frozen=True)
class RestoreFailure:
    """Why a Job failed, as a word and a sentence; `again`: another try may succeed."""

    reason: str
    message: str
    again: bool = False


def failure(reason: str, detail: str = "") -> RestoreFailure:
    """A known reason with its advice; an unknown one counts as a Job that said nothing."""
    known = reason if reason in _ADVICE else "JobLost"
    advice = _ADVICE[known]
    return RestoreFailure(known, f"{advice} ({detail})" if detail else advice, known in _AGAIN)


def parse_report(text: str | None) -> RestoreReport | None:
    """The report of `elink-backup restore`, or None when the text is none."""
    facts = _facts(text)
    try:
        return RestoreReport(
            str(facts["generation"])[:32],
            str(facts.get("made") or ""),
            int(facts["rows"]),
            int(facts["tables"]),
            int(facts["files"]),
            _without_file_names(facts.get("different") or ()),
        )
    except (KeyError, TypeError, ValueError):
        return None


def parse_failure(text: str | None, container: str) -> RestoreFailure:
    """Why a container failed. Only the reason is taken from the text: words in a report are a tenant's."""
    facts = _facts(text)
    if facts.get("different"):
        return failure("Different")
    reason = facts.get("reason")
    if isinstance(reason, str) and reason in _ADVICE:
        return failure(reason)
    by_container = {"migrate": "MigrationFailed", "disarm": "DisarmFailed"}
    return failure(by_container.get(container, "BackupFailed" if text else "JobLost"))


def parse_held(text: str | None) -> int | None:
    """How many deliveries and mails `elink-backup disarm` stopped; None when the text does not say."""
    facts = _facts(text)
    counts = [facts.get(key) for key in ("deliveries", "mails")]
    found = [count for count in counts if isinstance(count, int) and not isinstance(count, bool)]
    return sum(found) if found else None


def _without_file_names(different: Sequence[Any]) -> tuple[str, ...]:
    """Names of files are the customer's data: they are counted."""
    words = [str(word)[:200] for word in different]
    files = sum(word.startswith(_FILE) for word in words)
    kept = [word for word in words if not word.startswith(_FILE)]
    if files:
        kept.append("1 file" if files == 1 else f"{files} files")
    return tuple(kept[:_SHOWN])


def _facts(text: str | None) -> dict[str, Any]:
    try:
        facts = orjson.loads(text or "")
    except orjson.JSONDecodeError:
        return {}
    return facts if isinstance(facts, dict) else {}


def container_messages(pods: Sequence[Obj]) -> dict[str, tuple[int, str]]:
    """Container → its exit code and message, of the newest pod; only of containers that ended."""
    newest = max(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), default=None)
    found: dict[str, tuple[int, str]] = {}
    status = newest.get("status", {}) if newest else {}
    for field in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(field, ()):
            ended = container.get("state", {}).get("terminated")
            if ended:
                found[str(container["name"])] = (int(ended.get("exitCode", 1)), str(ended.get("message") or ""))
    return found
