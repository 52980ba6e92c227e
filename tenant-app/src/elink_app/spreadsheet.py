"""Values of strangers in files that a spreadsheet opens. One way; `transfer.formulas` is the way that leads back."""

from __future__ import annotations

# What begins like this is a formula to some spreadsheet, in full width too; an apostrophe makes it text.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def guarded(value: str) -> str:
    """The value as plain text for a spreadsheet."""
    return f"'{value}" if value.lstrip(" ").startswith(FORMULA_STARTS) else value
