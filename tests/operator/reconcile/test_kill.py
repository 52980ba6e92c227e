"""kill -9 of the real process after each of its writes: creation, resize and erasure go on where they were."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from elink_operator import naming
from elink_operator.api.erasure import verify
from elink_operator.cluster.kinds import OWNED

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
from tests.operator.reconcile.test_server import LARGE, SMALL, all_have, pods

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


async def kill_after(
    world: World, running: subprocess.Popen[bytes], tenant: str, writes: int, done: Callable[[], bool]
) -> bool:
    """SIGKILL as soon as `writes` more writes for the tenant were answered; False when it was finished before."""
    before = len(world.proxy.writes())
    for round_ in itertools.count():
        # Only the writes have to be seen at once; asking the API server costs the operator's time.
        if round_ % 10 == 0 and done():
            return False
        # Writes by the test itself do not pass the proxy.
        mine = [w for w in world.proxy.writes()[before:] if tenant in w.path or "/finalize" in w.path]
        if len(mine) >= writes:
            os.kill(running.pid, signal.SIGKILL)
            running.wait()
            return True
        assert running.poll() is None, "the operator ended by itself"
        await asyncio.sleep(0.01)
    raise AssertionError


@pytest.mark.timeout(1200)
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
                await until(lambda: is_ready(world.es(server)), what="server Ready")
            world.tenant(name)
            killed += await kill_after(world, running, name, writes, partial(tenant_is_ready, world, name))
    assert killed >= 5
    async with process(world, tmp_path, "last"):
        await until(lambda: all(is_ready(world.et(n)) for n in names), what="all Ready in the end")
    await nothing_twice(world, names)


@pytest.mark.timeout(1200)
async def test_killed_after_every_write_of_an_erasure(world: World, tmp_path: Path) -> None:
    server = world.unique("shared")
    victim, neighbour = world.unique("v"), world.unique("n")
    world.server(server)
    world.tenant(victim)
    world.tenant(neighbour)
    async with process(world, tmp_path, "first"):
        await until(lambda: is_ready(world.et(victim)) and is_ready(world.et(neighbour)))
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


async def killed_all_the_way(
    world: World, folder: Path, name: str, done: Callable[[], bool], seen: Callable[[], None] = lambda: None
) -> int:
    """Start and kill until `done`, one write further every sixth time; `seen` looks after each kill. How many kills."""
    kills = 0
    while not done():
        async with process(world, folder, f"{name}-{kills}") as running:
            if not await kill_after(world, running, name, 1 + kills // 6, done):
                break
        kills += 1
        seen()
        assert kills < 80, "no progress between kills"
    return kills


def credentials(world: World, server: str) -> dict[str, str]:
    """The values of a server's `postgres-credentials` as they are."""
    namespace = naming.server_namespace(server)
    secret = world.get(f"/api/v1/namespaces/{namespace}/secrets/{naming.POSTGRES_SECRET}") or {}
    return dict(secret.get("data") or {})


def inventory(world: World, server: str) -> list[str]:
    """Kind and name of everything that the operator made for a server."""
    namespace = naming.server_namespace(server)
    selector = "?labelSelector=app.kubernetes.io%2Fmanaged-by%3Delink-operator"
    return sorted(
        f"{kind.kind}/{obj['metadata']['name']}".replace(server, "SERVER")
        for kind in OWNED
        if kind.namespaced
        for obj in world.items(kind.path(namespace=namespace) + selector)
    )


def slow_writes(world: World) -> None:
    """Writes that are sent at the same time arrive one after the other, so that a kill hits between two of them."""
    for method in ("PATCH", "POST", "PUT", "DELETE"):
        world.proxy.delay(_SLOW, method=method)
    for number, kind in enumerate(OWNED):
        world.proxy.delay(number * _SLOW / 2, method="PATCH", path=f"/{kind.plural}/")


@pytest.mark.timeout(1200)
async def test_killed_after_every_write_of_a_servers_creation(world: World, tmp_path: Path) -> None:
    server, undisturbed, tenant = world.unique("shared"), world.unique("calm"), world.unique("t")
    slow_writes(world)
    world.server(server)
    known: dict[str, str] = {}

    def no_secret_changed() -> None:
        now = credentials(world, server)
        assert {key: now.get(key) for key in known} == known, "a password was made twice"
        known.update(now)

    kills = await killed_all_the_way(world, tmp_path, server, lambda: is_ready(world.es(server)), no_secret_changed)
    assert kills >= 8
    world.proxy.heal()
    world.tenant(tenant, server=server)
    async with process(world, tmp_path, "last"):
        await until(lambda: is_ready(world.es(server)), what="server Ready in the end")
        await until(lambda: is_ready(world.et(tenant)), what="a tenant on it")
        erase_now(world, tenant)
        await until(lambda: world.et(tenant) is None, what="the tenant erased")
        world.server(undisturbed)
        await until(lambda: is_ready(world.es(undisturbed)), what="the other server")
        no_secret_changed()
        made = [entry for entry in inventory(world, server) if not entry.startswith(("Job/erase", "Job/forget"))]
        assert made == inventory(world, undisturbed)
        assert len([entry for entry in made if entry.startswith("Job/migrate")]) == 1


@pytest.mark.timeout(1200)
async def test_killed_after_every_write_of_a_dedicated_tenants_creation(world: World, tmp_path: Path) -> None:
    name = world.unique("midori")
    world.secret(f"{name}-database")
    database = {"mode": "External", "secretRef": {"name": f"{name}-database"}}
    slow_writes(world)
    world.tenant(name, plan="Dedicated", size={"app": {"replicas": 1}, "database": database})
    known: dict[str, str] = {}

    def no_secret_changed() -> None:
        now = credentials(world, name)
        assert {key: now.get(key) for key in known} == known, "a password was made twice"
        known.update(now)

    kills = await killed_all_the_way(world, tmp_path, name, partial(tenant_is_ready, world, name), no_secret_changed)
    assert kills >= 10
    world.proxy.heal()
    async with process(world, tmp_path, "last"):
        await until(lambda: is_ready(world.es(name)) and is_ready(world.et(name)), what="both Ready")
        no_secret_changed()
    await nothing_twice(world, [name])
    server = world.es(name) or {}
    owners = [(o["kind"], o["name"], o["uid"]) for o in server["metadata"]["ownerReferences"]]
    assert owners == [("ElinkTenant", name, (world.et(name) or {})["metadata"]["uid"])]
    assert len([entry for entry in inventory(world, name) if entry.startswith("Job/migrate")]) == 1


@pytest.mark.timeout(1200)
async def test_killed_after_every_write_of_a_resize(world: World, tmp_path: Path) -> None:
    server = world.unique("shared")
    world.server(server, app={"replicas": 2, "resources": SMALL}, worker={"replicas": 1, "resources": SMALL})
    async with process(world, tmp_path, "first"):
        await until(lambda: is_ready(world.es(server)), what="server Ready")
    before = set(pods(world, server, "web"))
    assert len(before) == 2
    slow_writes(world)
    both = {"app": {"replicas": 3, "resources": LARGE}, "worker": {"resources": LARGE}}
    world.change("ElinkServer", server, {"spec": both})
    kills = await killed_all_the_way(world, tmp_path, server, lambda: is_ready(world.es(server)))
    assert kills >= 3
    async with process(world, tmp_path, "last"):
        await until(lambda: is_ready(world.es(server)), what="server Ready in the end")
        for component in ("web", "worker"):
            await until(partial(all_have, world, server, component, LARGE), what=f"{component} resized")
        await until(lambda: len(pods(world, server, "web")) == 3, what="the third pod")
    # In the running pods: whom a kill interrupts must not roll them instead.
    assert before <= set(pods(world, server, "web"))
