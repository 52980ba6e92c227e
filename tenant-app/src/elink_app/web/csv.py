"""CSV for spreadsheets: UTF-8 with a mark at its start, CRLF, and nothing that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

BOM = "\ufeff"
# A cell that begins like this is a formula to a spreadsheet; an apostrophe makes it text.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "=", "+", "-", "@")


def guarded(value: str) -> str:
    """The value as plain text for a spreadsheet."""
    return f"'{value}" if value.lstrip(" ").startswith(_FORMULA) else value


def lines(rows: Iterable[Sequence[str]]) -> str:
    """Rows as CSV."""
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n").writerows([guarded(value) for value in row] for row in rows)
    return out.getvalue()
