"""The server's own data: rows of the registry and the workers' journals.

Both are text with a line per fact, so that the lines of one tenant can be taken out of a copy again.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from elink_backup import database
from elink_backup.errors import FILES_UNREADABLE, BackupError
from elink_backup.job import Job
from elink_backup.journals import named
from elink_backup.manifest import sha256_of, write_manifest
from elink_backup.report import jst
from elink_backup.repository import DUMP
from elink_backup.restore import clear

JOURNALS = "files/journals"
_JOURNAL = ".journal"

COLUMNS = {
    "tenant": "name, uid, host, database, role, directory, state, language, limits, spec_hash, updated_at",
    "delivery_wakeup": "tenant, due_at",
    "notice": "tenant, id, type, severity, title_ja, title_en, body_ja, body_en, starts_at, detected_at, published_at,"
    " withdrawn_at",
    "database_switch": "uid, source, before, after, switched_at",
}
"""What is read of each table, and all that role elink_backup may read: nothing of the customer but the tenant's name
and addresses of its service."""


def gather(job: Job, started: datetime, journals: Path) -> None:
    """Fill the job's source. Raises `BackupError` when database or journals cannot be read."""
    for folder in ("database", "files"):
        clear(job.source / folder)
        (job.source / folder).mkdir(exist_ok=True)
    (job.source / DUMP).write_text(database.rows(job, _statements()), encoding="utf-8")
    _copy_journals(journals, job.source / JOURNALS)
    write_manifest(job.source, {**job.tags("", started), "started": jst(started), **describe(job.source)})


def _statements() -> list[str]:
    return [
        f"SELECT json_build_object('table', '{table}', 'row', t) FROM (SELECT {columns} FROM {table} ORDER BY 1, 2) t"  # noqa: S608 - constants
        for table, columns in COLUMNS.items()
    ]


def _copy_journals(source: Path, target: Path) -> None:
    if not source.is_dir():
        raise BackupError("the folder of the journals is not mounted", FILES_UNREADABLE)
    target.mkdir()
    for path in sorted(source.iterdir()):
        if not path.name.endswith(_JOURNAL):
            continue
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue  # settled meanwhile
        except OSError as error:
            raise BackupError(f"journal {path.name} cannot be read: {error.strerror}", FILES_UNREADABLE) from error
        with os.fdopen(fd, "rb") as file:
            (target / path.name).write_bytes(file.read())


def describe(source: Path) -> dict[str, Any]:
    """Rows per table, and the checksum of each journal, as the manifest has them."""
    tables = dict.fromkeys(COLUMNS, 0)
    for line in (source / DUMP).read_bytes().splitlines():
        tables[json.loads(line)["table"]] += 1
    journals = {path.name: sha256_of(path) for path in sorted(_journals(source))}
    return {"tables": tables, "journals": journals}


def take_out(source: Path, tenants: Mapping[str, str]) -> Counter[str]:
    """Remove the tenants' lines from registry and journals below `source`. `tenants`: uid → name; how many by uid."""
    taken = _filter(source / DUMP, lambda line: whose(line, tenants))
    uids = {name: uid for uid, name in tenants.items()}
    for path in _journals(source):
        taken += _filter(path, lambda line: uids.get(named(line, uids) or ""))
    return taken


def whose(line: bytes, tenants: Mapping[str, str]) -> str | None:
    """The uid of the tenant that a row of the registry is about, of exactly these; None: another one's.

    What cannot be parsed counts when it names one.
    """
    try:
        row = json.loads(line)["row"]
        said = (row.get("uid"), row.get("name"), row.get("tenant"))
        return next((uid for uid, name in tenants.items() if uid == said[0] or name in said[1:]), None)
    except (ValueError, KeyError, TypeError, AttributeError):
        found = (uid for uid, name in tenants.items() if f'"{name}"'.encode() in line or uid.encode() in line)
        return next(found, None)


def _journals(source: Path) -> list[Path]:
    folder = source / JOURNALS
    return list(folder.iterdir()) if folder.is_dir() else []


def _filter(path: Path, owner: Callable[[bytes], str | None]) -> Counter[str]:
    taken: Counter[str] = Counter()
    kept = []
    for line in path.read_bytes().splitlines(keepends=True):
        if (uid := owner(line.rstrip(b"\n"))) is None:
            kept.append(line)
        else:
            taken[uid] += 1
    if taken:
        path.write_bytes(b"".join(kept))
    return taken
