"""TCP ports for the servers that tests start."""

from __future__ import annotations

import secrets
import socket
from collections import deque
from typing import Final

_FIRST: Final = 12_000
_LAST: Final = 29_999
"""Below what Kubernetes gives to Services (30000) and Linux to connections (32768): none of those can be in the way
between the choice of a port and the start of its server, or while a test has the server stopped."""

_held: Final[deque[socket.socket]] = deque(maxlen=300)
"""The newest choices of this process; who chose a port longer ago has long bound it, or is over."""


def free_port() -> int:
    """A TCP port on which nothing listens, and which no other test process on this machine is given meanwhile."""
    while True:
        port = _FIRST + secrets.randbelow(_LAST - _FIRST + 1)
        # A name that one process can have at a time, and that goes with it, whatever ends it.
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0elink-test-port-{port}")
            with socket.socket() as probe:
                probe.bind(("", port))
        except OSError:
            claim.close()
            continue
        _held.append(claim)
        return port
