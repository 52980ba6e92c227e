"""Batches of rows out of an uploaded file, each read by another process while the one before it is written."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from elink_app.attributes.schemas import AttributeOutput
from elink_app.messages import N_
from elink_app.transfer.plan import Plan
from elink_app.transfer.reader import Reader, ReaderDied
from elink_app.transfer.rows import Row
from elink_app.transfer.tables import BadTable, open_table

# What brings its reader down is tried again, in case it was something else that did.
_TRIES = 3


class RowSource:
    """One file read from its start to its end; a batch at another place than the next begins anew."""

    def __init__(
        self, reader: Reader, path: Path, plan: Plan, size: int, attributes: Sequence[AttributeOutput]
    ) -> None:
        self._reader = reader
        self._path = path
        self._plan = plan
        self._size = size
        self._attributes = list(attributes)
        self._file: BinaryIO | None = None
        self._ahead: asyncio.Task[list[Row]] | None = None
        self._ahead_after = -1

    @property
    def file(self) -> BinaryIO:
        """Open since the first batch was asked for."""
        assert self._file is not None  # noqa: S101 - see `_read`
        return self._file

    def described(self) -> dict[str, Any]:
        """How it is read."""
        return {
            "plan": self._plan.model_dump(mode="json"),
            "attributes": [one.model_dump(mode="json") for one in self._attributes],
            "size": self._size,
        }

    async def take(self, after: int) -> list[Row]:
        """The rows after number `after`, a batch at most; empty at the end. Raises BadTable or OSError."""
        if self._ahead is None or self._ahead_after != after:
            if self._ahead is not None:
                await asyncio.wait([self._ahead])
            self._start(after)
        assert self._ahead is not None  # noqa: S101 - just started
        rows = await asyncio.shield(self._ahead)
        self._ahead = None
        if rows:
            self._start(after + len(rows))
        return rows

    def close(self) -> None:
        """Let go of the file; a batch that is still being read is waited for first."""
        if self._ahead is None or self._ahead.done():
            self._release(self._ahead)
        else:
            self._ahead.add_done_callback(self._release)

    def _release(self, ahead: asyncio.Task[list[Row]] | None) -> None:
        if ahead is not None and not ahead.cancelled():
            ahead.exception()
        self._reader.forget(self)
        if self._file is not None:
            self._file.close()
            self._file = None

    def _start(self, after: int) -> None:
        self._ahead_after = after
        self._ahead = asyncio.create_task(self._read(after))

    async def _read(self, after: int) -> list[Row]:
        if self._file is None:
            self._file = await asyncio.to_thread(open_table, self._path, self._plan.layout)
        for _ in range(_TRIES):
            try:
                return await self._reader.take(self, after)
            except ReaderDied:
                continue
        raise BadTable(
            N_("The next rows of the file take too much memory or time to be read. Save it again, or divide it.")
        )
