"""What the Jobs of a restore report, and what is known of a rehearsal. Pure: texts in, facts out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from elink_operator.naming import is_generation

Obj = Mapping[str, Any]

_SHOWN: Final = 20
_OTHERS: Final = 10
_FILE: Final = "file "
_TOO_NEW: Final = 3
"""Exit code of `elink-app migrate` for a database that a newer version has migrated."""

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
    "DatabaseTooNew": "PostgreSQL is newer than the pg_dump of the backup image, so nothing can be compared",
    "FilesUnreadable": "files cannot be read or written",
    "StillRunning": "a backup of the tenant did not end, or changed the store while it was read",
    "BackupFailed": "a program of the Job failed; see its log",
    "MigrationFailed": "the restored database cannot be brought to the server's version; see the Job's log",
    "SchemaTooNew": "the generation's database was migrated by a newer version of the app than the server has now: set "
    "spec.version of the server to the one from which it was set back (or a newer one) and make a new restore, or take "
    "a generation from before that version",
    "DisarmFailed": "deliveries in the restored database could not be stopped; see the Job's log",
    "JobLost": "the Job's pod ended without a word (a node went, or it was killed)",
    "TimedOut": "the Job took too long and was ended",
}
"""The reasons that the operator knows: a Job cannot write a condition of its own."""

_OF_THE_GENERATION: Final = frozenset({"GenerationMissing", "Different", "StoreDamaged"})
"""Another one may be as it should be."""

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
    """Why a Job failed, as a word and a sentence; `again`: another try may succeed. `generation`: what it chose."""

    reason: str
    message: str
    again: bool = False
    generation: str = ""


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


def parse_failure(text: str | None, container: str, code: int = 1) -> RestoreFailure:
    """Why a container failed. Only the reason and names of generations are taken: words in a report are a tenant's.

    `code`: its exit code.
    """
    facts = _facts(text)
    reason = "Different" if facts.get("different") else facts.get("reason")
    if isinstance(reason, str) and reason in _ADVICE:
        tried = next(iter(_generations([facts.get("generation")])), "")
        told = reason in _OF_THE_GENERATION and "others" in facts
        detail = _in_the_store(tried, _generations(facts["others"])) if told else ""
        return replace(failure(reason, detail), generation=tried)
    migration = "SchemaTooNew" if code == _TOO_NEW else "MigrationFailed"
    by_container = {"migrate": migration, "disarm": "DisarmFailed"}
    return failure(by_container.get(container, "BackupFailed" if text else "JobLost"))


def _generations(listed: Any) -> list[str]:
    """What of it is the name of a generation, and nothing else."""
    found = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    return [name for name in found if is_generation(name)][:_OTHERS]


def _in_the_store(tried: str, others: Sequence[str]) -> str:
    """Which one it was, and what there is besides it: a person has to choose."""
    which = f"it is {tried}; " if tried else ""
    return f"{which}others in the store: {', '.join(others)}" if others else f"{which}there is no other in the store"


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
