"""What the watches know, shared with the renderer."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .model import Namespace, Network, Pod, Policy, World

Key = tuple[str, str]
PODS, NAMESPACES, POLICIES = "pods", "namespaces", "networkpolicies"
KINDS = (PODS, NAMESPACES, POLICIES)


@dataclass(frozen=True)
class View:
    """One consistent copy. `generation` counts changes that can matter; `since` is when the first came (monotonic)."""

    generation: int
    since: float
    world: World
    versions: Mapping[str, str]


class Store:
    """Objects by kind and (namespace, name). Thread-safe; an update that changes no value wakes nobody up to render."""

    def __init__(self, pod_cidrs: tuple[Network, ...] = (), node: str = "") -> None:
        self._condition = threading.Condition()
        self._objects: dict[str, dict[Key, Any]] = {kind: {} for kind in KINDS}
        self._versions: dict[str, str] = {}
        self._pod_cidrs, self._node = pod_cidrs, node
        self._generation = 0
        self._tick = 0
        self._since = 0.0

    def replace(self, kind: str, objects: Mapping[Key, Any], version: str) -> None:
        """The result of a LIST: what is not in it is gone."""
        with self._condition:
            first = kind not in self._versions
            changed = first or self._objects[kind] != objects
            self._objects[kind] = dict(objects)
            self._note(kind, version, changed)

    def put(self, kind: str, key: Key, value: Any, version: str) -> None:
        with self._condition:
            changed = self._objects[kind].get(key) != value
            self._objects[kind][key] = value
            self._note(kind, version, changed)

    def remove(self, kind: str, key: Key, version: str) -> None:
        with self._condition:
            self._note(kind, version, self._objects[kind].pop(key, None) is not None)

    def seen(self, kind: str, version: str) -> None:
        """A bookmark: everything up to `version` is known."""
        with self._condition:
            self._note(kind, version, changed=False)

    def _note(self, kind: str, version: str, changed: bool) -> None:
        self._versions[kind] = version
        self._tick += 1
        if changed:
            self._generation += 1
            self._since = self._since or time.monotonic()
        self._condition.notify_all()

    @property
    def synced(self) -> bool:
        """True once every kind was listed."""
        return len(self._versions) == len(KINDS)

    @property
    def tick(self) -> int:
        """Counts everything that arrived, even what changed nothing."""
        return self._tick

    def wait(self, tick: int, timeout: float) -> bool:
        """Wait until something arrived after `tick` and every kind is listed; False after `timeout` seconds."""
        with self._condition:
            return self._condition.wait_for(lambda: self.synced and self._tick != tick, timeout)

    def view(self) -> tuple[int, View]:
        """Give (tick, view) and start a new measurement of `since`."""
        with self._condition:
            pods: dict[Key, Pod] = self._objects[PODS]
            namespaces: dict[Key, Namespace] = self._objects[NAMESPACES]
            policies: dict[Key, Policy] = self._objects[POLICIES]
            world = World(
                tuple(pods.values()), tuple(namespaces.values()), tuple(policies.values()), self._pod_cidrs, self._node
            )
            view = View(self._generation, self._since, world, dict(self._versions))
            self._since = 0.0
            return self._tick, view
