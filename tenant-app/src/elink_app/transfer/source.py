"""Batches of rows out of an uploaded file, each prepared in a thread while the one before it is written."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elink_app.attributes.schemas import AttributeValues
from elink_app.errors import FieldError
from elink_app.transfer.bulk import Ready
from elink_app.transfer.columns import Reason, to_input
from elink_app.transfer.consents import consents
from elink_app.transfer.plan import Plan
from elink_app.transfer.tables import read_rows


@dataclass(frozen=True, slots=True)
class Row:
    """One row, checked. `number` counts from 1 without the heading; `ready` is None when there are reasons."""

    number: int
    cells: list[str]
    ready: Ready | None
    filled: frozenset[str]
    reasons: list[Reason]
    # The row says that the person consented.
    consents: bool = False


class RowSource:
    """One file read from its start to its end; a batch at another place than the next opens it anew."""

    def __init__(self, path: Path, plan: Plan, size: int, attributes: AttributeValues) -> None:
        self._path = path
        self._plan = plan
        self._size = size
        self._attributes = attributes
        self._rows: Iterator[list[str]] | None = None
        self._position = 0
        self._ahead: asyncio.Task[list[Row]] | None = None
        self._ahead_after = -1

    async def take(self, after: int) -> list[Row]:
        """The rows after number `after`, a batch at most; empty at the end. Raises BadTable or OSError."""
        if self._ahead is None or self._ahead_after != after:
            if self._ahead is not None:
                # The thread must have let go of the file before another one reads it.
                await asyncio.wait([self._ahead])
            self._start(after)
        assert self._ahead is not None  # noqa: S101 - just started
        rows = await asyncio.shield(self._ahead)
        self._ahead = None
        if rows:
            self._start(after + len(rows))
        return rows

    def close(self) -> None:
        """Let go of the file; a thread that still reads finishes first."""
        if self._ahead is not None and not self._ahead.done():
            self._ahead.add_done_callback(lambda task: task.cancelled() or task.exception())
        elif self._ahead is not None and not self._ahead.cancelled():
            self._ahead.exception()
        self._rows = None

    def _start(self, after: int) -> None:
        self._ahead_after = after
        self._ahead = asyncio.create_task(asyncio.to_thread(self._read, after))

    def _read(self, after: int) -> list[Row]:
        if self._rows is None or self._position != after:
            self._rows = read_rows(self._path, self._plan.layout)
            skipped = after + (1 if self._plan.has_heading else 0)
            next(itertools.islice(self._rows, skipped, skipped), None)
        batch = [
            self._row(number, cells)
            for number, cells in enumerate(itertools.islice(self._rows, self._size), start=after + 1)
        ]
        self._position = after + len(batch)
        return batch

    def _row(self, number: int, cells: list[str]) -> Row:
        found = to_input(cells, self._plan.columns)
        if isinstance(found, list):
            return Row(number, cells, None, frozenset(), found)
        data, filled = found
        values: Mapping[str, Any] = {}
        if data.attributes:
            values, errors = self._attributes.check(data.attributes)
            if errors:
                return Row(number, cells, None, frozenset(), [_reason(error) for error in errors])
        return Row(number, cells, Ready.of(data, values), filled, [], consents(cells, self._plan.columns))


def _reason(error: FieldError) -> Reason:
    return str(error.field[-1]), error.code, error.message.params
