"""Keeps the store equal to the cluster for one kind: LIST, then WATCH, for ever."""

import asyncio
import random
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from time import monotonic
from typing import Final

import structlog

from elink_operator.cluster.client import Client
from elink_operator.cluster.errors import ClusterError, Gone, NotFound, Unavailable
from elink_operator.cluster.kinds import Kind, Obj
from elink_operator.cluster.store import Key, Store
from elink_operator.metrics import Metrics

log = structlog.get_logger()

OnChange = Callable[[Kind, Obj, bool], None]
"""Called with (kind, object, deleted); must be quick and must not raise."""

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
_MISSING_PAUSE: Final = 30.0


@dataclass(frozen=True, slots=True)
class WatchTimes:
    """Seconds: how long a watch lasts on the server, and how long it may be silent (bookmarks come each minute)."""

    timeout: int = 300
    silence: float = 150


class Informer:
    """LIST + WATCH of one kind under a label selector.

    A cut watch goes on from the last version; 410 leads to a complete list whose absent objects are reported
    as deleted. Never ends by an error: it reports, waits and tries again. `synced` is set after the first list, or
    when the cluster does not serve the kind. `turns`, shared by several, bounds how many list at the same time.
    """

    def __init__(
        self,
        client: Client,
        kind: Kind,
        store: Store,
        on_change: OnChange,
        metrics: Metrics,
        *,
        label_selector: str | None = None,
        times: WatchTimes | None = None,
        turns: asyncio.Semaphore | None = None,
    ) -> None:
        self.kind = kind
        self.synced = asyncio.Event()
        self.missing = False
        self._client = client
        self._store = store
        self._on_change = on_change
        self._metrics = metrics
        self._selector = label_selector
        self._times = times or WatchTimes()
        self._turns = turns or asyncio.Semaphore(1)
        self._version: str | None = None
        self._failures = 0
        self._alive_at = monotonic()

    @property
    def age(self) -> float:
        """Seconds since the last event, bookmark or attempt to connect."""
        return monotonic() - self._alive_at

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                if self._version is None:
                    async with self._turns:
                        self._version = await self._list()
                started = monotonic()
                await self._watch(self._version)
                if monotonic() - started < 1:
                    await self._pause()
            except asyncio.CancelledError:
                raise
            except Gone:
                self._restart("expired")
                await self._pause()
            except NotFound as error:
                await self._not_served(error)
            except Unavailable as error:
                self._metrics.watch_restarts.labels(self.kind.kind, error.reason.lower() or "error").inc()
                await self._pause()
            except ClusterError as error:
                log.warning("watch refused", kind=self.kind.kind, error=str(error), code=error.code)
                self._restart("error")
                await self._pause()
            except Exception:
                log.exception("informer failed", kind=self.kind.kind)
                self._restart("error")
                await self._pause()

    async def _list(self) -> str:
        self._beat()
        self._metrics.relists.labels(self.kind.kind).inc()
        present: set[Key] = set()
        version = ""
        async with aclosing(self._client.pages(self.kind, label_selector=self._selector)) as pages:
            async for items, at in pages:
                self._beat()
                version = at
                for obj in items:
                    present.add((obj["metadata"].get("namespace"), obj["metadata"]["name"]))
                    self._take(obj)
        for obj in self._store.vanished(self.kind, present, int(version)):
            self._on_change(self.kind, obj, True)
        self._failures = 0
        if self.missing:
            log.info("kind is served now", kind=self.kind.kind)
        self._set_missing(False)
        self.synced.set()
        return version

    async def _watch(self, version: str) -> None:
        self._beat()
        events = self._client.watch(
            self.kind,
            version=version,
            label_selector=self._selector,
            timeout=self._times.timeout,
            silence=self._times.silence,
        )
        async with aclosing(events) as stream:
            async for event in stream:
                self._beat()
                self._failures = 0
                obj = event["object"]
                match event["type"]:
                    case "ADDED" | "MODIFIED":
                        self._take(obj)
                    case "DELETED":
                        self._store.deleted(self.kind, obj)
                        self._on_change(self.kind, obj, True)
                self._version = obj["metadata"]["resourceVersion"]

    def _take(self, obj: Obj) -> None:
        if self._store.observed(self.kind, obj):
            self._on_change(self.kind, obj, False)

    async def _not_served(self, error: ClusterError) -> None:
        if not self.missing:
            log.warning("the cluster does not serve this kind", kind=self.kind.kind, error=str(error))
        self._set_missing(True)
        self._version = None
        self.synced.set()
        self._beat()
        await asyncio.sleep(_MISSING_PAUSE * random.uniform(0.8, 1.2))  # noqa: S311 - jitter

    def _set_missing(self, missing: bool) -> None:
        self.missing = missing
        self._metrics.api_missing.labels(self.kind.kind).set(missing)

    def _restart(self, cause: str) -> None:
        self._version = None
        self._metrics.watch_restarts.labels(self.kind.kind, cause).inc()

    async def _pause(self) -> None:
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        self._beat()
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter

    def _beat(self) -> None:
        self._alive_at = monotonic()
