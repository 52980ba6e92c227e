"""What a part of a bench costs: time, and processor time, which other work on the machine does not change much."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Cost:
    """Seconds, and processor seconds of the programs that ended meanwhile: servers that go on running are not in it."""

    seconds: float = 0
    processor: float = 0


@contextmanager
def measured() -> Iterator[Cost]:
    """The cost of the block, filled in at its end."""
    cost = Cost()
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    yield cost
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cost.seconds = time.monotonic() - began
    cost.processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
