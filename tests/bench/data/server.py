"""The night's backups of a whole server, and its loss: PostgreSQL's data destroyed, all tenants back by `rebuild`.

Real API server, controllers, PostgreSQL, S3 store (versitygw), backup and restore programs, and the app's own schema.
There are no nodes: a stand-in runs the programs of Job pods as processes of this machine, so pulling images and
starting pods are not in the figures, nor is the migration of an older generation.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elink_operator import naming
from elink_operator.rebuild import rebuild
from elink_operator.schedule import default_schedule

from tests.bench.data.cost import measured
from tests.bench.disk import forget_deleted_files
from tests.operator.reconcile.conftest import surroundings
from tests.operator.reconcile.harness import SYSTEM, Operator, World, condition, is_ready, until
from tests.operator.reconcile.test_backup_bucket import in_buckets
from tests.support.apiserver import program
from tests.support.apiserver import running as api_running
from tests.support.controllers import controllers
from tests.support.postgres import Postgres
from tests.support.postgres import running as postgres_running
from tests.support.standin import Obj, backup_or_restore, migrate_with_app
from tests.support.versitygw import gateway

_SERVER = "bench"
_ROWS = 300
_FILES, _FILE_BYTES = 3, 30_000
_ADDRESSES = """
INSERT INTO address (name, kana, sort_key, search_text, search_grams)
SELECT '山田 ' || n, 'ヤマダ', 'ヤマダ' || n, md5($2 || n), '{}' FROM generate_series(1, $1::int) n
"""


async def measure_server(tenants: int, at_once: int, *, lose: bool) -> list[dict[str, Any]]:
    """Figures: the backups of `tenants` small tenants, `at_once` Jobs at a time; with `lose` their way back too."""
    forget_deleted_files()
    folder = Path(tempfile.mkdtemp(prefix="elink-bench-server-"))
    try:
        with (
            api_running(folder / "api") as api,
            postgres_running(fsync=True) as postgres,
            gateway(folder / "store") as store,
        ):
            api.install_crds()
            api.apply_files(program("standard.yaml"))
            api.kubectl.run("create", "namespace", SYSTEM)
            with controllers(api):
                async with surroundings(api, [postgres], folder) as world:
                    world.standin.program("migrate", migrate_with_app)
                    world.standin.program("backup", backup_or_restore)
                    async with world.operator(**in_buckets(store)) as op:
                        names = await _make(world, tenants)
                        figures = [await _nightly(world, names, at_once)]
                        if lose:
                            figures.append(await _lost(world, op, postgres, names, at_once))
                        return figures
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _make(world: World, tenants: int) -> list[str]:
    names = [f"bench-{number}" for number in range(tenants)]
    world.server(_SERVER, maxTenants=tenants)
    for name in names:
        world.tenant(name)
    await until(lambda: all(is_ready(world.et(name)) for name in names), timeout=10 * tenants + 300, what="all Ready")
    for name in names:
        connection = await world.postgres.connect(naming.tenant_database(name))
        try:
            await connection.execute(_ADDRESSES, _ROWS, name)
        finally:
            await connection.close()
        top = world.standin.folder(naming.server_namespace(_SERVER), "files") / "tenants" / naming.short_id(name)
        top.mkdir(parents=True, exist_ok=True)
        for number in range(_FILES):
            (top / f"{number}.bin").write_bytes(os.urandom(_FILE_BYTES))
    return names


async def _nightly(world: World, names: Sequence[str], at_once: int) -> dict[str, Any]:
    """One Job per tenant from its CronJob, as the schedule makes them, but one after the other without pauses."""
    turns, loads = asyncio.Semaphore(at_once), list[float]()

    async def one(name: str) -> float:
        async with turns:
            started = time.monotonic()
            job = f"{naming.backup_cronjob(name)}-{int(time.time() / 60)}"
            await asyncio.to_thread(_run_now, world, name, job)
            path = f"/apis/batch/v1/namespaces/{naming.server_namespace(_SERVER)}/jobs/{job}"
            status = await until(lambda: _ended(world.get(path)), timeout=1800, what=job)
            assert status.get("succeeded"), f"{job}: {status}"
            loads.append(os.getloadavg()[0])
            return time.monotonic() - started

    with measured() as cost:
        each = sorted(await asyncio.gather(*(one(name) for name in names)))
    seconds = each[len(each) // 2]
    return {
        "figure": "nightly backups",
        "tenants": len(names),
        "at_once": at_once,
        "seconds_all": round(cost.seconds, 1),
        "seconds_median": round(seconds, 1),
        "processor_seconds_each": round(cost.processor / len(names), 2),
        "load": round(max(loads), 1),
        "peak_pods_of_the_schedule": {str(long): _peak(names, long) for long in (10, 30, 60)},
    }


def _run_now(world: World, name: str, job: str) -> None:
    namespace = naming.server_namespace(_SERVER)
    world.api.kubectl.run("create", "job", "-n", namespace, job, f"--from=cronjob/{naming.backup_cronjob(name)}")


def _ended(job: Obj | None) -> Obj | None:
    status: Obj = (job or {}).get("status", {})
    return status if any(c["type"] in {"Complete", "Failed"} for c in status.get("conditions", ())) else None


def _peak(names: Sequence[str], seconds: int) -> int:
    """The most pods at the same time when each takes `seconds` from the minute that its schedule names."""
    running: Counter[int] = Counter()
    for name in names:
        minute, hour, *_ = default_schedule(name).split()
        begins = int(hour) * 60 + int(minute)
        running.update(range(begins, begins + -(-seconds // 60)))
    return max(running.values(), default=0)


async def _lost(world: World, op: Operator, postgres: Postgres, names: Sequence[str], at_once: int) -> dict[str, Any]:
    """PostgreSQL's data folder is destroyed; from then until every tenant is Ready with what its backup holds."""
    await op.settle(timeout=120)
    postgres.lose_data(fsync=True)
    op.ctx.memory.looked.clear()
    with measured() as cost:
        op.ctx.wake("server", _SERVER)
        began = time.monotonic()
        await until(lambda: all(_is_lost(world, name) for name in names), timeout=600, what="the loss is seen")
        seen = time.monotonic() - began
        said: list[str] = []
        code = await rebuild(op.engine.client, _SERVER, at_once, said.append, look=0.5)
        assert code == 0, said[-1]
        await until(lambda: all(is_ready(world.et(name)) for name in names), timeout=600, what="all Ready again")
    for name in names:
        [[rows]] = await world.sql(naming.tenant_database(name), "SELECT count(*) FROM address")
        assert rows == _ROWS, f"{name} has {rows} addresses"
    ages = [r["status"]["dataAgeSeconds"] for r in world.items("/apis/elink-lc.com/v1/elinkrestores")]
    return {
        "figure": "server lost",
        "tenants": len(names),
        "at_once": at_once,
        "seconds_until_seen": round(seen, 1),
        "seconds_all": round(cost.seconds, 1),
        "seconds_each": round(cost.seconds / len(names), 2),
        "processor_seconds_each": round(cost.processor / len(names), 2),
        "data_age_seconds": {"oldest": max(ages), "newest": min(ages)},
        "said": said[-1],
    }


def _is_lost(world: World, name: str) -> bool:
    return bool(condition(world.et(name), "DatabaseReady").get("reason") == "DatabaseLost")
