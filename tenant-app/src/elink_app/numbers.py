"""How numbers are written for people. No imports but the standard library's: the reader of workbooks uses it too."""

from __future__ import annotations

from decimal import Decimal


def number_text(value: float) -> str:
    """All digits, never an exponent: `0.00005` and not `5e-05`. What PostgreSQL makes text of is the same."""
    return format(Decimal(repr(value)), "f")
