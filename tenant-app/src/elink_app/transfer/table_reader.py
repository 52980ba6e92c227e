"""The confined process that reads the files of imports, for all that a worker has open: see `reader`.

It is asked in JSON over a connection; see `_asked` for the form. With a file comes its descriptor: no path and no
secret reaches it.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import resource
import socket
import traceback
from collections.abc import Iterator
from typing import Any, BinaryIO

import orjson

from elink_app import confined
from elink_app.attributes.schemas import AttributeOutput, AttributeValues
from elink_app.transfer.plan import Plan
from elink_app.transfer.rows import Row, RowMaker
from elink_app.transfer.tables import BadTable, rows_of

HEAD_BYTES = 8
# A batch of many long rows ends before its number of rows: what it holds is in the memory of two processes.
MOST_CHARACTERS = 1 << 20
# For one batch with whatever has to be passed over before it.
_CPU_SECONDS = 120
# Mails go first when both want a core.
_NICENESS = 5


class Batches:
    """One file read from its start to its end."""

    def __init__(self, file: BinaryIO, plan: Plan, attributes: AttributeValues, size: int) -> None:
        self._file = file
        self._maker = RowMaker(plan.columns, attributes)
        self._rows = rows_of(file, plan.layout)
        self._size = size
        self._heading = 1 if plan.has_heading else 0
        self._position = 0

    def begin(self, after: int) -> None:
        """Pass over the heading and so many rows. Raises BadTable."""
        passed = self._heading + after
        next(itertools.islice(self._rows, passed, passed), None)
        self._position = after

    def take(self) -> list[Row]:
        """The next rows, in their order; none at the end. Raises BadTable."""
        return list(self._next())

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _next(self) -> Iterator[Row]:
        held = 0
        for cells in itertools.islice(self._rows, self._size):
            self._position += 1
            yield self._maker.row(self._position, cells)
            held += sum(map(len, cells))
            if held > MOST_CHARACTERS:
                return


def main() -> None:
    """Answer until the other end is closed, which its process's death does too."""
    confined.confine(0, resource.RLIM_INFINITY)
    os.nice(_NICENESS)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    with socket.socket(fileno=0) as channel, contextlib.suppress(OSError):
        serve(channel)


def serve(channel: socket.socket) -> None:
    """Answer question after question. Raises OSError when nobody listens any more."""
    tables: dict[int, Batches] = {}
    while (asked := _asked(channel)) is not None:
        confined.allow(_CPU_SECONDS)
        answer = _answer(tables, *asked)
        channel.sendall(len(answer).to_bytes(HEAD_BYTES))
        channel.sendall(answer)


def _asked(channel: socket.socket) -> tuple[dict[str, Any], BinaryIO | None] | None:
    """`{"table": 1, "forget": [2, 3]}`, for a new table with its descriptor and "new": see `_open`."""
    head, descriptors, _, _ = socket.recv_fds(channel, HEAD_BYTES, 1, socket.MSG_WAITALL)
    if len(head) < HEAD_BYTES:
        return None
    request = channel.recv(int.from_bytes(head), socket.MSG_WAITALL)
    return orjson.loads(request), os.fdopen(descriptors[0], "rb") if descriptors else None


def _answer(tables: dict[int, Batches], request: dict[str, Any], file: BinaryIO | None) -> bytes:
    """`{"rows": […]}`, or what is wrong with the file, or where this program failed."""
    number = request["table"]
    try:
        for one in request["forget"]:
            if one in tables:
                tables.pop(one).close()
        if file is not None:
            tables[number] = _open(file, request["new"])
            tables[number].begin(request["new"]["after"])
        return orjson.dumps({"rows": [tuple(row) for row in tables[number].take()]})
    except BadTable as error:
        return orjson.dumps({"bad": error.message.msgid, "params": error.message.params})
    except Exception as error:
        # Without its text, which may hold what stands in the file.
        where = "".join(traceback.format_tb(error.__traceback__))
        return orjson.dumps({"failed": f"{type(error).__name__}\n{where}"})


def _open(file: BinaryIO, new: dict[str, Any]) -> Batches:
    """`new` has "plan", "attributes" (definitions of own fields), "size" of batches, and "after": rows to pass over."""
    file.seek(0)
    attributes = AttributeValues([AttributeOutput.model_validate(one) for one in new["attributes"]])
    return Batches(file, Plan.model_validate(new["plan"]), attributes, new["size"])


if __name__ == "__main__":
    main()
