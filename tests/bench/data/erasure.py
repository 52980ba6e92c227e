"""How long the erasure of many tenants at once takes: real API server, PostgreSQL and erase programs, no nodes.

The stand-in runs the image's own programs as processes of this machine, so pulling images and starting pods are not in
the figures.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.disk import forget_deleted_files
from tests.operator.reconcile.conftest import surroundings
from tests.operator.reconcile.harness import SYSTEM, World, is_ready, until
from tests.operator.reconcile.test_erase import erase_now, fill, plant_files
from tests.support.apiserver import running as api_running
from tests.support.controllers import controllers
from tests.support.postgres import running as postgres_running

_ROWS = 100


async def measure_erasure(tenants: int) -> dict[str, Any]:
    """Seconds from the deletion to the tenant's end, of `tenants` that are deleted at once beside as many that stay."""
    forget_deleted_files()
    folder = Path(tempfile.mkdtemp(prefix="elink-bench-erasure-"))
    try:
        with api_running(folder / "api") as api, postgres_running(fsync=True) as postgres:
            api.install_crds()
            api.install_gateway()
            api.kubectl.run("create", "namespace", SYSTEM)
            with controllers(api):
                async with surroundings(api, [postgres], folder) as world:
                    return await _erase(world, tenants)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _erase(world: World, tenants: int) -> dict[str, Any]:
    going = [f"going-{number}" for number in range(tenants)]
    staying = [f"staying-{number}" for number in range(tenants)]
    world.server("shared", maxTenants=2 * tenants)
    for name in (*going, *staying):
        world.tenant(name)
    async with world.operator() as op:
        await until(lambda: all(is_ready(world.et(n)) for n in (*going, *staying)), timeout=10 * tenants + 120)
        for name in (*going, *staying):
            await fill(world, name, _ROWS)
            plant_files(world, "shared", name)
        await op.settle()
        started = time.monotonic()
        for name in going:
            erase_now(world, name)
        left, taken = set(going), []
        while left:
            present = {o["metadata"]["name"] for o in world.items("/apis/elink-lc.com/v1/elinktenants")}
            taken += [time.monotonic() - started] * len(left - present)
            left &= present
            await asyncio.sleep(0.2)
    taken.sort()
    return {
        "figure": "erasure",
        "tenants": tenants,
        "seconds_all": round(taken[-1], 1),
        "seconds_median": round(statistics.median(taken), 1),
        "seconds_each": round(taken[-1] / tenants, 2),
    }
