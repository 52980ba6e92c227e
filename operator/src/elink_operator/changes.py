"""`elink-operator changes`: who changed what, when; of the cluster or of a file."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime

from elink_operator import labels
from elink_operator.api.change import ChangeSpec
from elink_operator.cluster.kinds import CHANGE, Obj
from elink_operator.jst import JST
from elink_operator.records import Unreadable, read_records

_HEAD = ("WHEN", "WHO", "WHAT", "KIND", "NAME", "SUMMARY")


def show_changes(*, tenant: str = "", server: str = "", since: str = "", format_: str = "table", file: str = "") -> int:
    """Print changes, oldest first. Exit code: 0 printed, 2 the records or `since` cannot be read.

    `since`: a date or RFC 3339 time, in Japan when it has no offset. `server`: its own changes and its tenants'.
    """
    try:
        start = moment(since) if since else None
        selector = ",".join(
            f"{label}={value}" for label, value in ((labels.TENANT, tenant), (labels.SERVER, server)) if value
        )
        found = chosen(read_records(CHANGE, file, selector or None), tenant, server, start)
    except (Unreadable, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(as_json(found) if format_ == "json" else as_table(found))
    return 0


def moment(text: str) -> datetime:
    """A time of the command line; raises ValueError with a sentence."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no date or time: write 2026-11-28 or 2026-11-28T09:00:00+09:00") from None
    return found if found.tzinfo else found.replace(tzinfo=JST)


def chosen(records: Iterable[Obj], tenant: str, server: str, since: datetime | None) -> list[ChangeSpec]:
    """The wanted records, oldest first. Raises ValueError for what is no record."""
    found = []
    for record in records:
        spec = ChangeSpec.parse(record.get("spec") or {})
        marks = (record.get("metadata") or {}).get("labels") or {}
        if tenant and marks.get(labels.TENANT) != tenant:
            continue
        if server and marks.get(labels.SERVER) != server:
            continue
        if since is None or datetime.fromisoformat(spec.at) >= since:
            found.append(spec)
    return sorted(found, key=lambda spec: (datetime.fromisoformat(spec.at), spec.kind, spec.name, spec.generation))


def as_json(found: Sequence[ChangeSpec]) -> str:
    """One object per line."""
    return "".join(json.dumps(spec.dump(), ensure_ascii=False) + "\n" for spec in found)


def as_table(found: Sequence[ChangeSpec]) -> str:
    """Columns for people; nothing in a record can move the terminal's cursor."""
    rows = [_HEAD, *((s.at, s.who, s.what, s.kind, s.name, s.summary) for s in found)]
    clean = [["".join(c if c.isprintable() else "?" for c in cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in clean) for i in range(len(_HEAD) - 1)]
    lines = ["  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[-1]]) for row in clean]
    return "\n".join(line.rstrip() for line in lines) + "\n"
