"""`python -m tests.bench.data [--megabytes 200] [--rounds 3] [--tenants 100]`: backup, restore, erasure.

Prints one JSON line per figure. `--megabytes 0` or `--tenants 0` leaves a part out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform

from tests.bench.data.backup import measure_backup
from tests.bench.data.erasure import measure_erasure


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="tests.bench.data", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=200, help="size of the database (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of each side, alternating (default: %(default)s)")
    parser.add_argument("--tenants", type=int, default=100, help="erased at once (default: %(default)s)")
    given = parser.parse_args()
    machine = {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "python": platform.python_version()}
    print(json.dumps({"machine": machine}), flush=True)
    if given.megabytes > 0:
        for figure in measure_backup(given.megabytes, given.rounds):
            print(json.dumps(figure), flush=True)
    if given.tenants > 0:
        print(json.dumps(asyncio.run(measure_erasure(given.tenants))), flush=True)


if __name__ == "__main__":
    main()
