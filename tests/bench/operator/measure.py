"""The measurements of one round, each a plain number with its unit in the name."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from tests.bench.operator import floor
from tests.bench.operator.api import Obj
from tests.bench.operator.process import percentile
from tests.bench.operator.world import SERVER, TENANTS, Scrape, World, is_ready, tenant

_PATIENCE_SECONDS = 600
# Its record, its Event, the status.
_REQUESTS_PER_CHANGE = 3


@dataclass
class Watcher:
    """Notes when each tenant became Ready, by watching like any user."""

    world: World
    ready: dict[str, float] = field(default_factory=dict)
    generation: dict[str, tuple[int, float]] = field(default_factory=dict)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def run(self) -> None:
        """Watch until cancelled."""
        items, version = await self.world.api.items(TENANTS)
        for item in items:
            await self._see(item)
        async for event in self.world.api.watch(TENANTS, version):
            await self._see(event["object"])

    async def _see(self, obj: Obj) -> None:
        if not is_ready(obj):
            return
        name, now = obj["metadata"]["name"], time.monotonic()
        async with self.changed:
            self.ready.setdefault(name, now)
            generation = obj["metadata"]["generation"]
            if self.generation.get(name, (0, 0.0))[0] < generation:
                self.generation[name] = (generation, now)
            self.changed.notify_all()

    async def until_ready(self, names: list[str]) -> None:
        """Wait until all of `names` are Ready."""
        async with asyncio.timeout(_PATIENCE_SECONDS), self.changed:
            await self.changed.wait_for(lambda: all(n in self.ready for n in names))

    async def until_generation(self, name: str, generation: int) -> float:
        """Wait until a spec change has taken effect; returns when that was seen."""
        async with asyncio.timeout(_PATIENCE_SECONDS), self.changed:
            await self.changed.wait_for(lambda: self.generation.get(name, (0, 0.0))[0] >= generation)
            return self.generation[name][1]


async def quiet(world: World, watcher: Watcher, count: int) -> list[float]:
    """Seconds from apply to Ready of single tenants on a quiet cluster."""
    took = []
    for number in range(count):
        name = f"quiet-{number}"
        started = time.monotonic()
        await world.api.call("POST", TENANTS, tenant(name))
        await watcher.until_ready([name])
        took.append(watcher.ready[name] - started)
        await asyncio.sleep(1.0)
    return took


async def burst(world: World, watcher: Watcher, names: list[str]) -> dict[str, float]:
    """Apply all at once while one present tenant's spec is changed again and again."""
    before, requests = world.usage(), world.requests_for_tenants()
    gate = asyncio.Semaphore(floor.IN_FLIGHT)
    applied: dict[str, float] = {}

    async def apply(name: str) -> None:
        async with gate:
            applied[name] = time.monotonic()
            await world.api.call("POST", TENANTS, tenant(name))

    started = time.monotonic()
    spent: list[float] = []
    changes = asyncio.create_task(_change_again_and_again(world, watcher, "quiet-0", spent))
    await asyncio.gather(*(apply(name) for name in names))
    await watcher.until_ready(names)
    seconds = max(watcher.ready[name] for name in names) - started
    changes.cancel()
    await asyncio.gather(changes, return_exceptions=True)
    after = world.usage()
    changed = _REQUESTS_PER_CHANGE * len(spent)
    latency = [watcher.ready[name] - applied[name] for name in names]
    return {
        "seconds": seconds,
        "tenants_per_second": len(names) / seconds,
        "ready_p50_s": percentile(latency, 0.50),
        "ready_p95_s": percentile(latency, 0.95),
        "ready_p99_s": percentile(latency, 0.99),
        "change_p95_s": percentile(spent, 0.95),
        "changes": len(spent),
        "cpu_s": after.cpu - before.cpu,
        "peak_rss_mib": after.peak,
        "requests_per_tenant": (world.requests_for_tenants() - requests - changed) / len(names),
    }


async def _change_again_and_again(world: World, watcher: Watcher, name: str, spent: list[float]) -> None:
    limit = 1000
    while True:
        limit += 1
        started = time.monotonic()
        patched = await world.api.call(
            "PATCH", f"{TENANTS}/{name}", {"spec": {"limits": {"addresses": limit}}}, "application/merge-patch+json"
        )
        seen = await watcher.until_generation(name, patched["metadata"]["generation"])
        spent.append(seen - started)
        await asyncio.sleep(0.3)


async def restart(world: World, count: int) -> dict[str, float]:
    """kill -9 and start again: seconds until `count` tenants are verified, and what it asked of the API server."""
    await world.stop_operator()
    started = time.monotonic()
    await world.start_operator()
    async with asyncio.timeout(_PATIENCE_SECONDS):
        # Another process tells nothing, it must be asked; each time it loses a little of what is measured.
        while not _settled(world.scrape(), count):  # noqa: ASYNC110
            await asyncio.sleep(0.25)
    seconds = time.monotonic() - started
    return {
        "seconds": seconds,
        "lists": world.requests("list"),
        "single_gets": world.requests("get"),
        "writes": world.requests("apply", "create", "delete", "patch", "update"),
        "rss_mib": world.usage().rss,
    }


def _settled(page: Scrape, count: int) -> bool:
    done = page.sum("elink_reconcile_total", kind="tenant", result="success")
    return done >= count and page.sum("workqueue_depth") + page.sum("workqueue_active_workers") == 0


async def rest(world: World, seconds: float) -> dict[str, float]:
    """What the operator asks while nothing happens."""
    before, cpu = world.requests(), world.usage().cpu
    watches = world.requests("watch")
    await asyncio.sleep(seconds)
    asked = world.requests() - before - (world.requests("watch") - watches)
    return {
        "requests_per_minute": asked * 60 / seconds,
        "cpu_share": (world.usage().cpu - cpu) / seconds,
        "rss_mib": world.usage().rss,
    }


async def template_of(world: World, name: str) -> floor.Template:
    """What the operator made for one tenant, for the floor to make again."""
    owned = []
    namespace = f"elink-srv-{SERVER}"
    for base in (
        f"/api/v1/namespaces/{namespace}/secrets",
        "/api/v1/namespaces/elink-system/secrets",
        f"/apis/batch/v1/namespaces/{namespace}/cronjobs",
        f"/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes",
        "/apis/elink-lc.com/v1/elinkchanges",
    ):
        listed = await world.api.call("GET", f"{base}?labelSelector=elink-lc.com/tenant={name}")
        kind = listed["kind"].removesuffix("List")
        for item in listed["items"]:
            full = {"apiVersion": listed["apiVersion"], "kind": kind, **item}
            owned.append((f"{base}/{item['metadata']['name']}", floor.clean(full)))
    whole = await world.api.call("GET", f"{TENANTS}/{name}")
    return floor.Template(name, whole, owned)
