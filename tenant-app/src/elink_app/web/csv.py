"""CSV for spreadsheets: UTF-8 with a mark at its start, CRLF, and nothing that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from elink_app.spreadsheet import with_guard

BOM = "\ufeff"


def lines(rows: Iterable[Sequence[str]]) -> str:
    """Rows as CSV."""
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n").writerows([with_guard(value) for value in row] for row in rows)
    return out.getvalue()
