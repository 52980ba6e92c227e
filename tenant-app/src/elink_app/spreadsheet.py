"""Cells that a spreadsheet would take for a formula get an apostrophe before them. Pure, and reversible."""

from __future__ import annotations

import re

# What begins like this is a formula to some spreadsheet, in full width too; an apostrophe makes it text.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# With apostrophes of its own before it: what comes back must tell them from ours.
_DANGEROUS = re.compile(f"'* *[{re.escape(''.join(FORMULA_STARTS))}]")


def with_guard(cell: str) -> str:
    """The cell as it may be opened by a spreadsheet."""
    return f"'{cell}" if _DANGEROUS.match(cell) else cell


def without_guard(cell: str) -> str:
    """The cell as it was before `with_guard`."""
    return cell[1:] if cell.startswith("'") and _DANGEROUS.match(cell, 1) else cell
