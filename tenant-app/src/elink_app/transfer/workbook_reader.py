"""The confined process that reads a workbook: one row of texts as JSON on each line, null when it cannot be read.

A few hundred bytes can name a cell at the far corner of a sheet, or one long text a million times: what comes of that
in memory no look into the archive tells.
"""

from __future__ import annotations

import sys
from datetime import date, datetime, time, timedelta
from typing import Any

import orjson
import python_calamine

from elink_app import confined
from elink_app.numbers import number_text
from elink_app.transfer.tables import MAX_CELL

_MOST_BYTES = 256 << 20


def main() -> None:
    """Rows of the first sheet of the file that the argument names."""
    confined.confine(_MOST_BYTES)
    output = sys.stdout.buffer
    try:
        sheet = python_calamine.CalamineWorkbook.from_path(sys.argv[1]).get_sheet_by_index(0)
        for row in sheet.iter_rows():
            output.write(orjson.dumps([_cell(value)[:MAX_CELL] for value in row], option=orjson.OPT_APPEND_NEWLINE))
    except (python_calamine.CalamineError, IndexError, OSError):
        output.write(b"null\n")


def _cell(value: Any) -> str:
    match value:
        case bool():
            return "はい" if value else "いいえ"
        case float() if value.is_integer() and abs(value) < 10**15:
            return str(int(value))
        case float():
            return number_text(value)
        case datetime() if value.time() == time(0):
            return value.date().isoformat()
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return str(value)
    return str(value).strip()


if __name__ == "__main__":
    main()
