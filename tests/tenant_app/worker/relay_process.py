"""A relay that may be killed: `python -m tests.tenant_app.worker.relay_process PORT FILE`."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path

from tests.tenant_app.worker.deliveries import CountingRelay, relaying


class Written(Counter[str]):
    """Every count is a line in a file before the reply is sent."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.file = path.open("ab", buffering=0)

    def __setitem__(self, name: str, value: int) -> None:
        self.file.write(name.encode() + b"\n")
        super().__setitem__(name, value)


async def main(port: int, path: Path) -> None:
    """Serve until killed."""
    relay = CountingRelay(delay=0.005, port=port)
    relay.accepted = Written(path)
    async with relaying(relay):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
