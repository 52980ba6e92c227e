"""What the watches and the CNI plugin know, shared with the renderer."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .model import Address, Namespace, Network, Pod, Policy, World

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


@dataclass(frozen=True)
class Announcement:
    """The addresses that the CNI gave to a pod; a `uid` of "" fits whatever pod has the name."""

    uid: str
    addresses: tuple[Address, ...]

    def fits(self, pod: Pod) -> bool:
        return self.uid in ("", pod.uid)


class Store:
    """Objects by kind and (namespace, name). Thread-safe; an update that changes no value wakes nobody up to render."""

    def __init__(self, pod_cidrs: tuple[Network, ...] = (), node: str = "") -> None:
        self._condition = threading.Condition()
        self._objects: dict[str, dict[Key, Any]] = {kind: {} for kind in KINDS}
        self._announced: dict[Key, Announcement] = {}
        self._versions: dict[str, str] = {}
        self._pod_cidrs, self._node = pod_cidrs, node
        self._generation = 0
        self._loaded = -1
        self._tick = 0
        self._since = 0.0

    def replace(self, kind: str, objects: Mapping[Key, Any], version: str) -> None:
        """The result of a LIST: what is not in it is gone."""
        with self._condition:
            first = kind not in self._versions
            changed = first or self._objects[kind] != objects
            self._objects[kind] = dict(objects)
            if kind == PODS:
                self._announced = {key: value for key, value in self._announced.items() if not self._obsolete(key)}
            self._versions[kind] = version
            self._note(changed)

    def put(self, kind: str, key: Key, value: Any, version: str) -> None:
        with self._condition:
            changed = self._objects[kind].get(key) != value
            self._objects[kind][key] = value
            if kind == PODS and self._obsolete(key):
                del self._announced[key]
            self._versions[kind] = version
            self._note(changed)

    def remove(self, kind: str, key: Key, version: str) -> None:
        with self._condition:
            gone = self._objects[kind].pop(key, None)
            if kind == PODS and gone is not None and key in self._announced and self._announced[key].fits(gone):
                del self._announced[key]
            self._versions[kind] = version
            self._note(gone is not None)

    def seen(self, kind: str, version: str) -> None:
        """A bookmark: everything up to `version` is known."""
        with self._condition:
            self._versions[kind] = version
            self._note(changed=False)

    def announce(self, key: Key, announcement: Announcement, timeout: float) -> bool:
        """Take a pod's address before the API has it; True when rules with it are loaded, False after `timeout` s."""
        end = time.monotonic() + timeout
        with self._condition:
            self._announced[key] = announcement
            self._note(changed=True)
            if self._condition.wait_for(lambda: self._known(key, announcement), timeout):
                # The generation in which the pod and its address came together, or a later one.
                wanted = self._generation
                if self._condition.wait_for(lambda: self._loaded >= wanted, max(0.0, end - time.monotonic())):
                    return True
            # The runtime takes the address back and asks again with another one.
            if self._announced.get(key) is announcement:
                del self._announced[key]
                self._note(changed=True)
            return False

    def loaded(self, generation: int) -> None:
        """The renderer has put everything up to `generation` into the kernel."""
        with self._condition:
            self._loaded = generation
            self._condition.notify_all()

    def _known(self, key: Key, announcement: Announcement) -> bool:
        pod: Pod | None = self._objects[PODS].get(key)
        return pod is not None and announcement.fits(pod)

    def _obsolete(self, key: Key) -> bool:
        """Whether the API now says itself what was announced, so that from now on it is to be believed."""
        pod: Pod | None = self._objects[PODS].get(key)
        announcement = self._announced.get(key)
        return (
            pod is not None
            and announcement is not None
            and announcement.fits(pod)
            and pod.addresses == announcement.addresses
        )

    def _note(self, changed: bool) -> None:
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
            namespaces: dict[Key, Namespace] = self._objects[NAMESPACES]
            policies: dict[Key, Policy] = self._objects[POLICIES]
            world = World(
                self._pods(), tuple(namespaces.values()), tuple(policies.values()), self._pod_cidrs, self._node
            )
            view = View(self._generation, self._since, world, dict(self._versions))
            self._since = 0.0
            return self._tick, view

    def _pods(self) -> tuple[Pod, ...]:
        pods: dict[Key, Pod] = dict(self._objects[PODS])
        for key, announcement in self._announced.items():
            if self._known(key, announcement):
                pods[key] = replace(pods[key], addresses=announcement.addresses, announced=True)
        return tuple(pods.values())
