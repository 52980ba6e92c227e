"""`python -m tests.bench.data`: backup and restore, erasure, a night's backups, the loss of a server.

Prints one JSON line per figure. 0 leaves a part out: `--megabytes`, `--tenants`, `--nightly`, `--lost`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform

from tests.bench.data.backup import measure_backup
from tests.bench.data.erasure import measure_erasure
from tests.bench.data.server import measure_server


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="tests.bench.data", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=200, help="size of the database (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of each side, alternating (default: %(default)s)")
    parser.add_argument("--tenants", type=int, default=100, help="erased at once (default: %(default)s)")
    parser.add_argument("--nightly", type=int, default=200, help="tenants backed up in a night (default: %(default)s)")
    parser.add_argument("--lost", type=int, default=50, help="tenants of a lost server (default: %(default)s)")
    parser.add_argument("--at-once", type=int, default=4, help="backups or restores at once (default: %(default)s)")
    given = parser.parse_args()
    machine = {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "python": platform.python_version()}
    print(json.dumps({"machine": machine}), flush=True)
    if given.megabytes > 0:
        for figure in measure_backup(given.megabytes, given.rounds):
            print(json.dumps(figure), flush=True)
    if given.tenants > 0:
        print(json.dumps(asyncio.run(measure_erasure(given.tenants))), flush=True)
    for tenants, lose in ((given.nightly, False), (given.lost, True)):
        if tenants > 0:
            for figure in asyncio.run(measure_server(tenants, given.at_once, lose=lose)):
                print(json.dumps(figure, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
