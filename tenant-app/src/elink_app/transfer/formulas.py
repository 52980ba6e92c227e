"""Cells that a spreadsheet would take for a formula get an apostrophe before them. Pure, and reversible."""

from __future__ import annotations

import re

from elink_app.spreadsheet import FORMULA_STARTS

_DANGEROUS = re.compile(f"'* *[{re.escape(''.join(FORMULA_STARTS))}]")


def with_guard(cell: str) -> str:
    """The cell as it may be opened by a spreadsheet."""
    return f"'{cell}" if _DANGEROUS.match(cell) else cell


def without_guard(cell: str) -> str:
    """The cell as it was before `with_guard`."""
    return cell[1:] if cell.startswith("'") and _DANGEROUS.match(cell, 1) else cell
