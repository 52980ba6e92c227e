"""Which keys must be reconciled when something changes. Caches first, then enqueues; never waits."""

from typing import Any, Final

from elink_operator import labels
from elink_operator.api.world import World
from elink_operator.cluster.apply import Applier
from elink_operator.cluster.kinds import JOB, OURS, OWNED, RESTORE, SERVER, TENANT, Kind, Obj
from elink_operator.cluster.store import Store
from elink_operator.desired.server_backup import forgotten_by
from elink_operator.workqueue import Key, KeyKind, Lane, WorkQueue

KEY_KINDS: Final[dict[Kind, KeyKind]] = {TENANT: "tenant", SERVER: "server", RESTORE: "restore"}
"""The kind of key of each of our own kinds."""
_COUNT_DELAY = 2.0
"""Seconds in which tenants that move in or out of a server are counted together."""


def lane_of(obj: Obj) -> Lane:
    """The lane of one of our own objects: what a user waits for goes first.

    A deletion or a change of something that has worked before is URGENT; a first creation, or what is not Ready
    yet, NEW; the rest RESYNC.
    """
    metadata, status = obj["metadata"], obj.get("status") or {}
    observed = status.get("observedGeneration") or 0
    if metadata.get("deletionTimestamp"):
        return Lane.URGENT
    if status.get("finishedAt"):
        return Lane.RESYNC
    if not observed:
        return Lane.NEW
    if observed != metadata.get("generation", 0):
        return Lane.URGENT
    return Lane.RESYNC if is_ready(obj) else Lane.NEW


def is_ready(obj: Obj) -> bool:
    """Whether the condition Ready is True."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return any(entry.get("type") == "Ready" and entry.get("status") == "True" for entry in conditions)


class Triggers:
    """Turns events, answers to own writes and changes of owned objects into keys.

    While `active` is False (not the leader) everything is cached and nothing is enqueued: a new leader looks at
    every object anyway.
    """

    def __init__(self, store: Store, queue: WorkQueue, applier: Applier, world: World) -> None:
        self.active = False
        self._store = store
        self._queue = queue
        self._applier = applier
        self._world = world

    def received(self, kind: Kind, obj: Obj, *, deleted: bool) -> None:
        """An event of a tenant or server, from kopf's watch or the comparison."""
        old = self._store.get(kind, None, obj["metadata"]["name"])
        if deleted:
            self._store.deleted(kind, obj)
            self._enqueue(key_of(kind, obj), Lane.URGENT)
            self._follow(kind, old or obj, None)
        elif self._store.observed(kind, obj):
            # A foreign change without a new generation (an annotation, a status by hand) is a user's change too.
            lane = Lane.URGENT if old is not None else lane_of(obj)
            self._enqueue(key_of(kind, obj), lane)
            self._follow(kind, old, obj)

    def written(self, kind: Kind, obj: Obj) -> None:
        """The answer to an own write: it goes into the cache at once, so its echo is no news."""
        if kind in OURS:
            old = self._store.get(kind, None, obj["metadata"]["name"])
            if self._store.wrote(kind, obj):
                self._enqueue(key_of(kind, obj), Lane.NEW if old is None else Lane.URGENT)
            self._follow(kind, old, obj)
        elif kind in OWNED and _is_managed(obj):
            self._store.wrote(kind, obj)

    def owned(self, kind: Kind, obj: Obj, deleted: bool) -> None:
        """A change of an object that belongs to a tenant or server (drift, readiness, a finished Job)."""
        if deleted:
            self._applier.forget(obj)
        marks = obj["metadata"].get("labels") or {}
        lane = Lane.URGENT if deleted else Lane.NEW
        if restore := marks.get(labels.RESTORE):
            self._enqueue(("restore", restore), lane)
        if tenant := marks.get(labels.TENANT):
            self._enqueue(("tenant", tenant), lane)
        elif kind == JOB and (leaving := forgotten_by(obj)):
            for tenant in leaving.values():
                self._enqueue(("tenant", tenant), lane)
        elif server := marks.get(labels.SERVER):
            self._enqueue(("server", server), lane)

    def _follow(self, kind: Kind, old: Obj | None, new: Obj | None) -> None:
        if kind == TENANT:
            homes = {_home(old), _home(new)}
            if len(homes) > 1 and self.active:
                for server in homes - {""}:
                    self._queue.add_after(("server", server), _COUNT_DELAY, Lane.RESYNC)
        elif kind == RESTORE and _progress(old) != _progress(new):
            self._wake_concerned(new or old or {})
        elif kind == SERVER and _offer(old) != _offer(new):
            self._wake_tenants((new or old or {})["metadata"]["name"])

    def _wake_concerned(self, restore: Obj) -> None:
        """The tenants of a restore follow it, and other restores of theirs wait for it."""
        spec = restore["spec"]
        for tenant in {spec["tenant"], (spec.get("asNew") or {}).get("tenant") or spec["tenant"]}:
            if tenant in self._world.tenants:
                self._enqueue(("tenant", tenant), Lane.URGENT)
            for other in self._world.restores_of(tenant, besides=restore["metadata"]["name"]):
                self._enqueue(("restore", other.name), Lane.NEW)

    def _wake_tenants(self, server: str) -> None:
        for name, tenant in self._world.tenants.items():
            home = tenant.status.server
            if home == server or name == server or not home:
                ready = any(entry.type == "Ready" and entry.status == "True" for entry in tenant.status.conditions)
                self._enqueue(("tenant", name), Lane.RESYNC if ready else Lane.NEW)

    def _enqueue(self, key: Key, lane: Lane) -> None:
        if self.active:
            self._queue.add(key, lane)


def key_of(kind: Kind, obj: Obj) -> Key:
    """The key of one of our own objects."""
    return KEY_KINDS[kind], obj["metadata"]["name"]


def _is_managed(obj: Obj) -> bool:
    marks = obj["metadata"].get("labels") or {}
    return bool(marks.get(labels.MANAGED_BY) == labels.MANAGED_BY_VALUE)


def _home(tenant: Obj | None) -> str:
    return str(((tenant or {}).get("status") or {}).get("server") or "")


def _progress(restore: Obj | None) -> tuple[Any, ...]:
    """What tenants and other restores depend on."""
    status = (restore or {}).get("status") or {}
    return status.get("phase"), status.get("step"), restore is None


def _offer(server: Obj | None) -> tuple[Any, ...]:
    """What tenants depend on: when it changes they look again."""
    if server is None:
        return ()
    status = server.get("status") or {}
    # The observed generation tells a Dedicated tenant that its new size is in effect; Ready may be True all along.
    generations = server["metadata"].get("generation"), status.get("observedGeneration")
    return is_ready(server), generations, status.get("version"), status.get("migration")
