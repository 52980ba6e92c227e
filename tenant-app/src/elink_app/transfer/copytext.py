"""Rows in COPY's text format: the driver's binary one takes arrays apart piece by piece in Python. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"[\\\t\n\r]")
_MEANS_SOMETHING = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def text_array(values: Sequence[str]) -> str:
    """The literal of a `text[]`."""
    if not values:
        return "{}"
    joined = "\0".join(values)
    if '"' in joined or "\\" in joined:
        joined = joined.replace("\\", "\\\\").replace('"', '\\"')
    return '{"' + joined.replace("\0", '","') + '"}'


def bigint_array(values: Iterable[int]) -> str:
    """The literal of a `bigint[]`."""
    return "{" + ",".join(map(str, values)) + "}"


def fields(values: Sequence[str]) -> str:
    """A part of a row, without the line's end; values as PostgreSQL reads them, none of them NULL.

    PostgreSQL's text holds no NUL character either.
    """
    joined = "\0".join(values)
    if _SPECIAL.search(joined):
        joined = joined.translate(_MEANS_SOMETHING)
    return joined.replace("\0", "\t")
