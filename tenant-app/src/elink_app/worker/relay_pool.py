"""The connections of this process to the relay, shared by all deliveries."""

from __future__ import annotations

import asyncio
import time

from elink_app.mail.smtp import Relay, SmtpConnection, connect

# Relays hang up after some minutes of silence; a connection that was idle for less is worth keeping.
_IDLE_SECONDS = 20.0


class RelayPool:
    """At most `size` connections. Whoever asked first gets the next one."""

    def __init__(self, relay: Relay, size: int) -> None:
        self._relay = relay
        self._free = asyncio.Semaphore(size)
        self._idle: list[tuple[float, SmtpConnection]] = []
        self.waiting = 0
        self.size = size

    async def acquire(self) -> SmtpConnection:
        """An open connection. Raises ConnectionFailed."""
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        try:
            self._drop_old()
            while self._idle:
                connection = self._idle.pop()[1]
                if not connection.closed:
                    return connection
            return await connect(self._relay)
        except BaseException:
            self._free.release()
            raise

    def release(self, connection: SmtpConnection) -> None:
        """Give a connection back, open or closed."""
        if not connection.closed:
            self._idle.append((time.monotonic(), connection))
        self._free.release()

    async def close(self) -> None:
        """Say goodbye on the idle ones."""
        idle, self._idle = self._idle, []
        await asyncio.gather(*(connection.quit() for _, connection in idle))

    def _drop_old(self) -> None:
        limit = time.monotonic() - _IDLE_SECONDS
        for at, connection in self._idle:
            if at < limit:
                connection.abort()
        self._idle = [(at, connection) for at, connection in self._idle if at >= limit]
