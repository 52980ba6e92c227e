"""Rows in COPY's text format: the driver's binary one takes arrays apart piece by piece in Python. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

# The backslash first: the others bring new ones. (`translate` looks at each character: fifty times as slow.)
_MEANS_SOMETHING = (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"))


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
    for character, written in _MEANS_SOMETHING:
        joined = joined.replace(character, written)
    return joined.replace("\0", "\t")
