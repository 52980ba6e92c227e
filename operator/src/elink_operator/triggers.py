"""Which keys must be reconciled when something changes. Caches first, then enqueues; never waits."""

from typing import Any, Final

from elink_operator import labels
from elink_operator.api.raw import concerned, part
from elink_operator.api.restore import RestoreStep
from elink_operator.api.tenant import Plan
from elink_operator.api.world import World
from elink_operator.cluster.apply import Applier
from elink_operator.cluster.kinds import JOB, OURS, OWNED, RESTORE, SERVER, TENANT, Kind, Obj
from elink_operator.cluster.store import Store
from elink_operator.desired.server_backup import forgotten_by
from elink_operator.workqueue import Key, KeyKind, Lane, WorkQueue

KEY_KINDS: Final[dict[Kind, KeyKind]] = {TENANT: "tenant", SERVER: "server", RESTORE: "restore"}
"""The kind of key of each of our own kinds."""
KINDS: Final[dict[KeyKind, Kind]] = {key: kind for kind, key in KEY_KINDS.items()}
_COUNT_DELAY = 2.0
"""Seconds in which tenants that move in or out of a server are counted together."""


def lane_of(obj: Obj) -> Lane:
    """The lane of one of our own objects: what a user waits for goes first.

    A deletion or a change of something that has worked before is URGENT; a first creation, or what is not Ready
    yet, NEW; the rest RESYNC.
    """
    metadata, status = obj["metadata"], part(obj, "status")
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
    listed = part(obj, "status").get("conditions")
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    return any(entry.get("type") == "Ready" and entry.get("status") == "True" for entry in entries)


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
            self._wake_waiting(_places(old) - _places(new))
        elif kind == RESTORE and _progress(old) != _progress(new):
            self._wake_concerned(new or old or {})
            self._wake_waiting(_held_by_move(old) - _held_by_move(new))
        elif kind == SERVER and _offer(old) != _offer(new):
            self._wake_tenants((new or old or {})["metadata"]["name"])

    def _wake_concerned(self, restore: Obj) -> None:
        """The tenants of a restore follow it, and other restores of theirs wait for it."""
        for tenant in concerned(restore):
            if tenant in self._world.tenants:
                self._enqueue(("tenant", tenant), Lane.URGENT)
            for other in self._world.restores_of(tenant, besides=restore["metadata"]["name"]):
                self._enqueue(("restore", other.name), Lane.NEW)

    def _wake_tenants(self, server: str) -> None:
        for name, tenant in self._world.tenants.items():
            home = tenant.status.server
            if server in (home, name, tenant.spec.server) or not home:
                ready = any(entry.type == "Ready" and entry.status == "True" for entry in tenant.status.conditions)
                self._enqueue(("tenant", name), Lane.RESYNC if ready else Lane.NEW)

    def _wake_waiting(self, freed: set[str]) -> None:
        """Places became free on servers: who is pinned there or anywhere welcome looks again."""
        if not freed or not self.active:
            return
        for name, tenant in self._world.tenants.items():
            home, pin = tenant.status.server or tenant.metadata.annotations.get(labels.PLACED_ON), tenant.spec.server
            anywhere = not pin and not home and tenant.spec.plan is Plan.SHARED
            if anywhere or (pin in freed and pin != home):
                self._enqueue(("tenant", name), Lane.NEW)

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
    return str(part(tenant or {}, "status").get("server") or "")


def _places(tenant: Obj | None) -> set[str]:
    """The server on which a tenant takes a place: where it lives, is being made or, before that, wants to be."""
    found = tenant or {}
    noted = part(part(found, "metadata"), "annotations")
    home = _home(tenant) or noted.get(labels.PLACED_ON) or part(found, "spec").get("server")
    return {str(home)} if home else set()


def _held_by_move(restore: Obj | None) -> set[str]:
    """The servers on which a move that is not over takes a place."""
    move, status = part(part(restore or {}, "spec"), "move"), part(restore or {}, "status")
    if not move or status.get("step") == RestoreStep.DONE:
        return set()
    return {str(move.get("server") or ""), str(status.get("sourceServer") or "")} - {""}


def _progress(restore: Obj | None) -> tuple[Any, ...]:
    """What tenants and other restores depend on."""
    status = part(restore or {}, "status")
    return status.get("phase"), status.get("step"), restore is None


def _offer(server: Obj | None) -> tuple[Any, ...]:
    """What tenants depend on: when it changes they look again."""
    if server is None:
        return ()
    status = part(server, "status")
    # The observed generation tells a Dedicated tenant that its new size is in effect; Ready may be True all along.
    generations = server["metadata"].get("generation"), status.get("observedGeneration")
    return is_ready(server), generations, status.get("version"), status.get("migration")
