"""The worker's side of the process that reads the files of imports: started when one is open, ended after the last.

Taking rows apart and checking them is as much work as writing them, and a core of its own for it leaves this one to
the database and to mails. One process for all imports keeps the memory bounded: they are served in turn, a batch each.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import threading
from typing import Any, BinaryIO, Protocol

import orjson

from elink_app import confined
from elink_app.transfer.rows import Row
from elink_app.transfer.table_reader import HEAD_BYTES
from elink_app.transfer.tables import BadTable

_MODULE = "elink_app.transfer.table_reader"


class ReaderDied(Exception):
    """The process ended while it read: it ran into a limit, or was killed."""


class ReaderFailed(Exception):
    """The process ran into an error of ours; it says where."""


class Table(Protocol):
    """A file that is being read, by its identity."""

    @property
    def file(self) -> BinaryIO:
        """What `tables.open_table` gave."""
        ...

    def described(self) -> dict[str, Any]:
        """ "plan", "attributes" and "size", as the process reads them."""
        ...


class Reader:
    """All tables that one worker process reads."""

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._numbers = 0
        # What the process has open: its number there, and the number of the last row that was taken.
        self._known: dict[Table, tuple[int, int]] = {}
        self._forgotten: list[int] = []

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return self._process.pid if self._process else None

    async def take(self, table: Table, after: int) -> list[Row]:
        """The rows after number `after`, a batch at most; none at the end.

        Raises BadTable, ReaderDied, or ReaderFailed.
        """
        async with self._one_at_a_time:
            if self._process is not None and self._process.poll() is not None:
                # While nobody asked it anything: no file's fault.
                self._stop()
            channel = self._channel or self._start()
            number, position = self._known.get(table, (0, -1))
            request: dict[str, Any] = {"table": number, "forget": self._forgotten}
            file = None
            if position != after:
                if number:
                    self._forgotten.append(number)
                self._numbers += 1
                number, file = self._numbers, table.file
                request |= {"table": number, "new": {**table.described(), "after": after}}
            try:
                answer = await _exchange(channel, orjson.dumps(request), file)
            except (EOFError, OSError) as error:
                self._stop()
                raise ReaderDied from error
            except BaseException:
                # Half an answer may be under way.
                self._stop()
                raise
            self._forgotten = []
            if "rows" not in answer:
                self._known.pop(table, None)
                self._forgotten.append(number)
                raise _error(answer)
            rows = [Row._make(row) for row in answer["rows"]]
            self._known[table] = (number, after + len(rows))
            return rows

    def forget(self, table: Table) -> None:
        """Let go of a table; of the process too when it was the last one."""
        number, _ = self._known.pop(table, (0, 0))
        if number:
            self._forgotten.append(number)
        if not self._known and not self._one_at_a_time.locked():
            self._stop()

    def _start(self) -> socket.socket:
        try:
            self._process, self._channel = confined.start(_MODULE)
        except OSError as error:
            raise ReaderDied from error
        self._channel.setblocking(False)
        return self._channel

    def _stop(self) -> None:
        self._known.clear()
        self._forgotten = []
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            self._process.kill()
            # Dead at once, unless it waits for a volume that does not answer: this one has other work.
            threading.Thread(target=self._process.wait, daemon=True).start()
        self._process = self._channel = None


async def _exchange(channel: socket.socket, request: bytes, file: BinaryIO | None) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    head = len(request).to_bytes(HEAD_BYTES)
    # Nothing else is on its way: there is room for these few bytes.
    socket.send_fds(channel, [head], [file.fileno()] if file is not None else [])
    await loop.sock_sendall(channel, request)
    size = int.from_bytes(await _exactly(channel, HEAD_BYTES))
    answer: dict[str, Any] = orjson.loads(await _exactly(channel, size))
    return answer


async def _exactly(channel: socket.socket, size: int) -> bytearray:
    """So many bytes. Raises EOFError or OSError."""
    loop = asyncio.get_running_loop()
    found = bytearray(size)
    with memoryview(found) as view:
        at = 0
        while at < size:
            read = await loop.sock_recv_into(channel, view[at:])
            if not read:
                raise EOFError
            at += read
    return found


def _error(answer: dict[str, Any]) -> Exception:
    if "bad" in answer:
        return BadTable(answer["bad"], **answer["params"])
    return ReaderFailed(answer["failed"])
