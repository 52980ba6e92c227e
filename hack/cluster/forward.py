"""A TCP forwarder: ports of 127.0.0.1 on the host lead into the cluster's network. Changes nothing else of the host.

Alone in its file: it is started by path, with nothing else to import.
`forward.py NAME PORT=ADDRESS:PORT ...`
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence

_CHUNK = 64 * 1024


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the reader ends, then tell the other side so (half-close)."""
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except (ConnectionError, OSError):
        writer.close()


async def _serve(address: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        onward_reader, onward_writer = await asyncio.wait_for(asyncio.open_connection(address, port), timeout=10)
    except (TimeoutError, OSError):
        writer.close()
        return
    try:
        await asyncio.gather(_copy(reader, onward_writer), _copy(onward_reader, writer))
    finally:
        for side in (writer, onward_writer):
            side.close()
            with contextlib.suppress(ConnectionError, OSError):
                await side.wait_closed()


def parse(argument: str) -> tuple[int, str, int]:
    """`8443=10.200.0.2:30443` → (8443, "10.200.0.2", 30443)."""
    listen, _, onward = argument.partition("=")
    address, _, port = onward.rpartition(":")
    return int(listen), address, int(port)


async def forward(arguments: Sequence[str]) -> None:
    """Listen on every port and forward for ever; `OSError` when a port is taken."""
    servers = []
    for listen, address, port in map(parse, arguments):

        async def serve(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str = address, port: int = port
        ) -> None:
            await _serve(address, port, reader, writer)

        servers.append(await asyncio.start_server(serve, "127.0.0.1", listen, limit=4 * _CHUNK))
    print(f"forwarding {' '.join(arguments)}", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(forward(sys.argv[2:]))
