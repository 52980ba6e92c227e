"""The connection under an SMTP session: bytes in, replies out."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import cast

from elink_app.mail.smtp_reply import ProtocolError, Reply, ReplyReader

_CHUNK = 1 << 18


class Wire(asyncio.Protocol):
    """Keeps replies until they are asked for, and the first error for ever."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.reader = ReplyReader()
        self._replies: deque[Reply] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self._encrypted = False
        self._late = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked: the transports of uvloop are no subclasses.
        self.transport = cast(asyncio.Transport, transport)
        self._encrypted = transport.get_extra_info("ssl_object") is not None

    def data_received(self, data: bytes) -> None:
        try:
            self._replies.extend(self.reader.feed(data))
        except ProtocolError as error:
            self._end(error)
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self._end(ConnectionError(str(error) if error else "the server closed the connection"))
        self._wake()
        self.resume_writing()

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    @property
    def ended(self) -> bool:
        """True when nothing can be sent any more."""
        return self._error is not None

    @property
    def clean(self) -> bool:
        """True when every byte that came was asked for and has been read."""
        return self.reader.empty and not self._replies

    async def reply(self, timeout: float) -> Reply:
        """The next reply. Raises ConnectionError, ProtocolError or TimeoutError; replies that came before go first."""
        if not self._replies:
            loop = asyncio.get_running_loop()
            self._late = False
            # Cheaper than `asyncio.timeout`, once for every mail.
            timer = loop.call_later(timeout, self._expire)
            try:
                while not self._replies:
                    if self._error is not None:
                        raise self._error
                    if self._late:
                        raise TimeoutError
                    self._waiter = loop.create_future()
                    await self._waiter
            finally:
                timer.cancel()
        return self._replies.popleft()

    async def replies(self, count: int, timeout: float) -> list[Reply]:
        """The next `count` replies; each may take `timeout`."""
        if len(self._replies) >= count:
            return [self._replies.popleft() for _ in range(count)]
        return [await self.reply(timeout) for _ in range(count)]

    def write(self, data: bytes | memoryview) -> None:
        """Send; silent when the connection is gone: the next `reply` tells."""
        if self.transport is not None and self._error is None:
            self.transport.write(data)

    def write_all(self, pieces: Sequence[bytes]) -> None:
        """Send the pieces in one go."""
        if self.transport is None or self._error is not None:
            return
        if self._encrypted:
            # Each write becomes a TLS record of its own.
            self.transport.write(b"".join(pieces))
        else:
            self.transport.writelines(pieces)

    async def send_ahead(self, pieces: Sequence[bytes], timeout: float) -> Sequence[bytes]:
        """Send all of a long body but its last piece, as fast as it is taken; returns what is left to send.

        Files of megabytes, which stand in the last piece but one, would else be copied for each connection. The last
        piece ends the mail: when the connection breaks before, it was not sent.
        """
        if len(pieces) < 2 or len(pieces[-2]) <= _CHUNK:
            return pieces
        for piece in pieces[:-1]:
            whole = memoryview(piece)
            for at in range(0, len(piece), _CHUNK):
                self.write(whole[at : at + _CHUNK])
                # Others have their turn, and a break is heard of before the end is sent.
                await asyncio.sleep(0)
                await self.drained(timeout)
        return pieces[-1:]

    async def drained(self, timeout: float) -> None:
        """Wait until the kernel has taken most of what was written."""
        if self._writable is not None:
            async with asyncio.timeout(timeout):
                await self._writable

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def _end(self, error: Exception) -> None:
        if self._error is None:
            self._error = error

    def _expire(self) -> None:
        self._late = True
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
