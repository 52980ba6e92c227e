"""Heals the cache of our own kinds: kopf never reports what was deleted while it was not looking."""

from contextlib import aclosing
from typing import Protocol

from elink_operator.cluster.client import Client
from elink_operator.cluster.errors import NotFound
from elink_operator.cluster.kinds import OURS, Kind, Obj
from elink_operator.cluster.store import Key, Store
from elink_operator.metrics import Metrics


class Received(Protocol):
    """Who is told about an object that was missed."""

    def __call__(self, kind: Kind, obj: Obj, *, deleted: bool) -> None: ...


class Healer:
    """Compares the cached tenants and servers with the API server and delivers what was missed."""

    def __init__(self, client: Client, store: Store, received: Received, metrics: Metrics) -> None:
        self._client = client
        self._store = store
        self._received = received
        self._metrics = metrics

    async def load(self) -> None:
        """Read all tenants and servers into the cache. Raises ClusterErrors."""
        for kind in OURS:
            async with aclosing(self._client.pages(kind)) as pages:
                async for items, _ in pages:
                    for obj in items:
                        self._received(kind, obj, deleted=False)

    async def compare(self) -> int:
        """List metadata only; fetch what is newer, report what is gone; returns how many were missed."""
        missed = 0
        for kind in OURS:
            found = await self._compare(kind)
            self._metrics.healed.labels(kind.kind).inc(found)
            missed += found
        return missed

    async def _compare(self, kind: Kind) -> int:
        present: set[Key] = set()
        newer: list[str] = []
        version = 0
        async with aclosing(self._client.pages(kind, metadata_only=True)) as pages:
            async for items, at in pages:
                version = int(at)
                for item in items:
                    metadata = item["metadata"]
                    present.add((None, metadata["name"]))
                    entry = self._store.entry(kind, None, metadata["name"])
                    if entry is None or entry.version < int(metadata["resourceVersion"]):
                        newer.append(metadata["name"])
        gone = self._store.vanished(kind, present, version)
        for obj in gone:
            self._received(kind, obj, deleted=True)
        for name in newer:
            await self._fetch(kind, name)
        return len(gone) + len(newer)

    async def _fetch(self, kind: Kind, name: str) -> None:
        try:
            obj = await self._client.get(kind, name)
        except NotFound:
            return
        self._received(kind, obj, deleted=False)
