"""kill -9 of the real process after each of its writes: creation and erasure go on where they were."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from elink_operator import naming
from elink_operator.api.erasure import verify

from tests.operator.reconcile.harness import World, is_ready, until
from tests.operator.reconcile.test_erase import (
    erase_now,
    fill,
    plant_files,
    records_of,
    rows_of,
    tenant_is_ready,
    traces,
)
from tests.operator.reconcile.test_faults import nothing_twice

ROOT = Path(__file__).resolve().parents[3]
_SLOW = 0.08
"""Seconds that each write takes, so that a kill hits between two of them."""


@asynccontextmanager
async def process(world: World, folder: Path, name: str) -> AsyncIterator[subprocess.Popen[bytes]]:
    """`elink-operator run` against the proxy; killed at the end."""
    kubeconfig = folder / "kubeconfig"
    config = {
        "current-context": "t",
        "contexts": [{"name": "t", "context": {"cluster": "t", "user": "t"}}],
        "clusters": [{"name": "t", "cluster": {"server": world.proxy.url}}],
        "users": [{"name": "t", "user": {"token": world.api.admin_token}}],
    }
    kubeconfig.write_text(json.dumps(config))
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "operator" / "src"),
        "ELINK_KUBECONFIG": str(kubeconfig),
        "ELINK_WEBHOOK_ENABLED": "false",
        "ELINK_METRICS_PORT": "0",
        "ELINK_REGION_NODE_LABEL": "",
        "ELINK_SPARE_DATABASES": "0",
        # One process at a time: waiting for the dead one's Lease would only make this slow, a short one unsteady.
        "ELINK_LEADER_ELECTION": "false",
        "ELINK_RETRY_BASE_SECONDS": "0.1",
        "ELINK_RETRY_MAX_SECONDS": "2",
    }
    with (folder / f"{name}.log").open("wb") as log:
        running = subprocess.Popen(  # noqa: ASYNC220 - starting is quick, and the test wants the process itself
            [sys.executable, "-m", "elink_operator", "run"], env=environment, stdout=log, stderr=log
        )
    try:
        yield running
    finally:
        running.kill()
        running.wait()


async def kill_after(world: World, running: subprocess.Popen[bytes], tenant: str, writes: int, done: object) -> bool:
    """SIGKILL as soon as `writes` more writes for the tenant were answered; False when it was finished before."""
    before = len(world.proxy.writes())
    while True:
        if callable(done) and done():
            return False
        # Writes by the test itself do not pass the proxy.
        mine = [w for w in world.proxy.writes()[before:] if tenant in w.path or "/finalize" in w.path]
        if len(mine) >= writes:
            os.kill(running.pid, signal.SIGKILL)
            running.wait()
            return True
        assert running.poll() is None, "the operator ended by itself"
        await asyncio.sleep(0.01)


@pytest.mark.timeout(400)
async def test_killed_after_every_write_of_a_creation(world: World, tmp_path: Path) -> None:
    server = world.unique("shared")
    world.server(server)
    names: list[str] = []
    killed = 0
    for method in ("PATCH", "POST", "DELETE"):
        world.proxy.delay(_SLOW, method=method)
    for writes in range(1, 7):
        name = world.unique(f"k{writes}")
        names.append(name)
        async with process(world, tmp_path, name) as running:
            if writes == 1:
                await until(lambda: is_ready(world.es(server)), timeout=60, what="server Ready")
            world.tenant(name)
            killed += await kill_after(world, running, name, writes, partial(tenant_is_ready, world, name))
    assert killed >= 5
    async with process(world, tmp_path, "last"):
        await until(lambda: all(is_ready(world.et(n)) for n in names), timeout=90, what="all Ready in the end")
    await nothing_twice(world, names)


@pytest.mark.timeout(600)
async def test_killed_after_every_write_of_an_erasure(world: World, tmp_path: Path) -> None:
    server = world.unique("shared")
    victim, neighbour = world.unique("v"), world.unique("n")
    world.server(server)
    world.tenant(victim)
    world.tenant(neighbour)
    async with process(world, tmp_path, "first"):
        await until(lambda: is_ready(world.et(victim)) and is_ready(world.et(neighbour)), timeout=90)
    uid = (world.et(victim) or {})["metadata"]["uid"]
    for name in (victim, neighbour):
        await fill(world, name, 4)
        plant_files(world, server, name)
    for method in ("PATCH", "POST", "DELETE"):
        world.proxy.delay(_SLOW, method=method)
    erase_now(world, victim)
    kills = 0
    while world.et(victim) is not None:
        async with process(world, tmp_path, f"erase-{kills}") as running:
            # One write further each time: every prefix of the erasure is tried, then it must end by itself.
            if not await kill_after(world, running, victim, 1 + kills // 4, lambda: world.et(victim) is None):
                break
            kills += 1
            assert kills < 60, "the erasure makes no progress between kills"
    assert kills >= 6
    assert await traces(world, victim, uid) == []
    assert len(records_of(world, uid)) == 1, "one record, whenever it was killed"
    assert verify(world.items("/apis/elink-lc.com/v1/elinkerasures")).intact
    assert await rows_of(world, neighbour) == 4
    assert len(await traces(world, neighbour, (world.et(neighbour) or {})["metadata"]["uid"])) >= 9
    assert naming.FINALIZER in (world.et(neighbour) or {})["metadata"]["finalizers"]
