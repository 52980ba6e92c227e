"""Everything put together: what is made once per process, in which order it starts and how it stops."""

import asyncio
import secrets
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeVar

import structlog

from elink_operator import labels
from elink_operator.api import ElinkRestore, ElinkServer, ElinkTenant
from elink_operator.api.unread import Unread
from elink_operator.api.world import World
from elink_operator.business import BusinessCollector
from elink_operator.cluster.apply import Applier
from elink_operator.cluster.client import Client
from elink_operator.cluster.connection import Connection
from elink_operator.cluster.errors import ClusterError
from elink_operator.cluster.events import Recorder
from elink_operator.cluster.heal import Healer
from elink_operator.cluster.informer import Informer, WatchTimes
from elink_operator.cluster.kinds import OURS, OWNED, RESTORE, SERVER, TENANT, Kind, Obj
from elink_operator.cluster.lease import Elector, LeaseTimes
from elink_operator.cluster.store import Listener, Store
from elink_operator.cluster.transport import Limits
from elink_operator.controller import Controller, Pace, Reconcile, progressing
from elink_operator.health import LoopLag
from elink_operator.metrics import Metrics
from elink_operator.settings import Settings
from elink_operator.triggers import Triggers
from elink_operator.workqueue import Backoff, KeyKind, Lane, WorkQueue

log = structlog.get_logger()

T = TypeVar("T")

Chore = Callable[[], Coroutine[Any, Any, None]]
"""What only the leader does, besides reconciling; does not end by itself."""

_STALE_INFORMER: Final = 600.0
"""Seconds without any sign of life (an attempt to connect counts) after which an informer hangs."""
_LISTS_AT_ONCE: Final = 2
"""Kinds listed at the same time. More are no faster, as one thread reads them; meanwhile kopf holds all tenants."""


def utc_now() -> datetime:
    """The aware present."""
    return datetime.now(UTC)


def identity() -> str:
    """A name for this process that no other one ever has."""
    return f"{socket.gethostname()}_{secrets.token_hex(4)}"


@dataclass
class Engine:
    """The operator without kopf and without reconcilers; build with `Engine.create` inside a running loop."""

    settings: Settings
    connection: Connection
    metrics: Metrics
    client: Client
    store: Store
    world: World
    queue: WorkQueue
    applier: Applier
    triggers: Triggers
    healer: Healer
    informers: list[Informer]
    elector: Elector | None
    lag: LoopLag
    loaded: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def create(cls, settings: Settings, connection: Connection) -> "Engine":
        """Make all parts; nothing starts yet."""
        metrics = Metrics()
        store = Store()
        client = Client(connection, metrics, limits_of(settings), Recorder(settings.event_dedup_seconds))
        applier = Applier(client, store, metrics)
        world = World(
            base_domain=settings.base_domain, regions=settings.regions, default_region=settings.default_region
        )
        feed(world, store)
        queue = WorkQueue(
            metrics,
            bulk_limit=max(1, settings.workers - settings.urgent_workers),
            backoff=Backoff(settings.retry_base_seconds, settings.retry_max_seconds),
        )
        triggers = Triggers(store, queue, applier, world)
        client.on_written = triggers.written
        elector = None
        if settings.leader_election:
            times = LeaseTimes(
                settings.lease_duration_seconds, settings.lease_renew_deadline_seconds, settings.lease_retry_seconds
            )
            elector = Elector(client, identity(), settings.namespace, metrics, times=times)
            client.may_write = lambda: elector.is_leader
        watch_times = WatchTimes(settings.watch_timeout_seconds, settings.watch_silence_seconds)
        turns = asyncio.Semaphore(_LISTS_AT_ONCE)
        informers = [
            Informer(
                client,
                kind,
                store,
                triggers.owned,
                metrics,
                label_selector=labels.MANAGED_SELECTOR,
                times=watch_times,
                turns=turns,
            )
            for kind in OWNED
        ]
        engine = cls(
            settings,
            connection,
            metrics,
            client,
            store,
            world,
            queue,
            applier,
            triggers,
            Healer(client, store, triggers.received, metrics),
            informers,
            elector,
            LoopLag(metrics),
        )
        engine._publish()
        return engine

    @property
    def synced(self) -> bool:
        """All caches are filled."""
        return self.loaded.is_set() and all(informer.synced.is_set() for informer in self.informers)

    def wake(self, kind: KeyKind, name: str) -> None:
        """Ask for a reconcile of an object soon, behind what users wait for."""
        if self.triggers.active:
            self.queue.add((kind, name), Lane.NEW)

    def not_live(self) -> str | None:
        """Why this process should be restarted, or None. An API server that is down is no reason."""
        for informer in self.informers:
            if informer.age > _STALE_INFORMER:
                return f"the watch of {informer.kind} hangs for {informer.age:.0f} s"
        if not progressing(self.queue, self.pace):
            return f"a reconcile hangs for {self.queue.longest_running:.0f} s"
        return None

    def not_ready(self) -> str | None:
        """Why this process cannot take over or answer admission yet, or None; a standby is ready too."""
        return None if self.synced else "caches are being filled"

    @property
    def pace(self) -> Pace:
        """The controller's numbers from the settings."""
        return Pace(self.settings.workers, self.settings.resync_seconds, self.settings.reconcile_timeout_seconds)

    def background(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What runs in every replica from the start, by name; none of them ends by itself."""
        tasks: dict[str, Coroutine[Any, Any, None]] = {
            f"informer-{informer.kind.plural}": informer.run() for informer in self.informers
        }
        tasks["cache"] = self._keep_cache()
        tasks["loop-lag"] = self.lag.run()
        if self.elector is not None:
            tasks["elector"] = self._elect(self.elector)
        return tasks

    async def wait_synced(self) -> None:
        """Wait until all caches are filled."""
        await self.loaded.wait()
        for informer in self.informers:
            await informer.synced.wait()

    async def lead(self, controller: Controller, chores: Sequence[Chore] = ()) -> None:
        """Wait until caches are full and this process leads, then reconcile and do the chores until cancelled."""
        await self.wait_synced()
        if self.elector is not None:
            await self.elector.acquired.wait()
        self.triggers.active = True
        log.info("reconciling", tenants=self.store.count(TENANT), servers=self.store.count(SERVER))
        async with asyncio.TaskGroup() as group:
            group.create_task(controller.run(), name="controller")
            for chore in chores:
                group.create_task(chore(), name="chore")

    def controller(self, reconciles: Mapping[KeyKind, Reconcile]) -> Controller:
        """The controller of this engine."""
        return Controller(self.queue, self.store, reconciles, self.metrics, self.pace)

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()

    async def _elect(self, elector: Elector) -> None:
        """Stand for election with full caches only: who cannot read must not keep the Lease from who can."""
        await self.wait_synced()
        await elector.run()

    async def _keep_cache(self) -> None:
        """Load our own kinds, then compare them every few minutes; errors are waited out."""
        while True:
            pause = self.settings.heal_seconds
            try:
                if not self.loaded.is_set():
                    await self.healer.load()
                    self.loaded.set()
                elif missed := await self.healer.compare():
                    log.warning("events were lost and have been made up for", missed=missed)
            except ClusterError as error:
                log.warning("tenants and servers cannot be listed", error=str(error))
                pause = min(pause, 5.0)
            await asyncio.sleep(pause)

    def _publish(self) -> None:
        self.metrics.registry.register(
            BusinessCollector(
                self.world, utc_now, self.settings.drill_days, tells_contacts=bool(self.settings.mail_from)
            )
        )
        self.metrics.synced.set_function(lambda: float(self.synced))
        for informer in self.informers:
            self.metrics.watch_age.labels(informer.kind.kind).set_function(partial(getattr, informer, "age"))
        for kind in (*OURS, *OWNED):
            self.metrics.cached.labels(kind.kind).set_function(partial(self.store.count, kind))


def feed(world: World, store: Store) -> None:
    """Keep the world of parsed tenants, servers and restores equal to the store."""

    store.subscribe(TENANT, _follower(TENANT, world, ElinkTenant.parse, world.put_tenant, world.remove_tenant))
    store.subscribe(SERVER, _follower(SERVER, world, ElinkServer.parse, world.put_server, world.remove_server))
    store.subscribe(RESTORE, _follower(RESTORE, world, ElinkRestore.parse, world.put_restore, world.remove_restore))


def _follower(
    kind: Kind, world: World, parse: Callable[[Obj], T], put: Callable[[T], None], remove: Callable[[str], None]
) -> Listener:
    """Keeps the world's objects of one kind; what does not parse is known as unread, and told of once."""

    def follow(name: str, obj: Obj | None) -> None:
        known = world.unread.get((kind.kind, name))
        world.remove_unread(kind.kind, name)
        if obj is None:
            remove(name)
            return
        try:
            put(parse(obj))
        except ValueError as error:
            remove(name)
            unread = Unread.of(obj, error)
            world.put_unread(unread)
            if known is None or (known.uid, known.generation) != (unread.uid, unread.generation):
                generation = unread.generation
                log.error(
                    "object cannot be read", kind=kind.kind, object=name, generation=generation, why=unread.problems
                )

    return follow


def limits_of(settings: Settings) -> Limits:
    """The client's bounds from the settings."""
    return Limits(
        connections=settings.api_connections,
        timeout=settings.api_timeout_seconds,
        connect_timeout=settings.api_connect_timeout_seconds,
        writes_per_second=settings.api_writes_per_second,
        write_burst=settings.api_write_burst,
        page=settings.list_page_size,
    )
