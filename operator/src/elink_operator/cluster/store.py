"""The cache of cluster objects: newest known state of everything the operator watches or wrote.

Objects are kept as JSON bytes (2-3 KB instead of ~25 KB of dicts) and decoded on each read, so a caller
can never change what others see. Parsed forms of hot kinds are kept as views.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeVar

import orjson
import structlog

from elink_operator import labels
from elink_operator.cluster.kinds import OURS, Kind, Obj
from elink_operator.cluster.slim import slim

log = structlog.get_logger()

T = TypeVar("T")
Key = tuple[str | None, str]
"""(namespace, name); the namespace is None for cluster-scoped kinds."""
Listener = Callable[[str, Obj | None], None]

_REMEMBERED: Final = 5_000
"""How many own writes and deletions are remembered; older ones have long come back through the watch."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One cached object: its JSON, version, and the labels that find it."""

    raw: bytes
    version: int
    uid: str
    generation: int
    tenant: str | None
    server: str | None


class Store:
    """Newest state by (kind, namespace, name). Older resourceVersions and resurrections are refused."""

    def __init__(self) -> None:
        self._kinds: dict[Kind, dict[Key, Entry]] = {}
        self._by_tenant: dict[str, set[tuple[Kind, Key]]] = {}
        self._by_server: dict[str, set[tuple[Kind, Key]]] = {}
        self._listeners: dict[Kind, list[Listener]] = {}
        self._own: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._dead: OrderedDict[tuple[Kind, Key], int] = OrderedDict()

    # -- reading -----------------------------------------------------------------------------------------

    def get(self, kind: Kind, namespace: str | None, name: str) -> Obj | None:
        """A fresh copy of the cached object (see `slim`), or None."""
        entry = self.entry(kind, namespace, name)
        return None if entry is None else _decode(entry)

    def entry(self, kind: Kind, namespace: str | None, name: str) -> Entry | None:
        """Version, uid and generation of an object without decoding it."""
        return self._kinds.get(kind, {}).get((namespace, name))

    def all(self, kind: Kind) -> list[Obj]:
        """Fresh copies of all objects of a kind; ~20 us each, so use a view in hot paths."""
        return [_decode(entry) for entry in self._kinds.get(kind, {}).values()]

    def names(self, kind: Kind) -> list[str]:
        """The names of all objects of a kind."""
        return [name for _, name in self._kinds.get(kind, {})]

    def count(self, kind: Kind) -> int:
        """How many objects of the kind are cached."""
        return len(self._kinds.get(kind, {}))

    def by_tenant(self, tenant: str) -> list[Obj]:
        """Every owned object labelled with the tenant, each with `apiVersion` and `kind`."""
        return self._collect(self._by_tenant.get(tenant, ()))

    def by_server(self, server: str) -> list[Obj]:
        """Every owned object labelled with the server, those of its tenants included."""
        return self._collect(self._by_server.get(server, ()))

    def by_server_alone(self, server: str) -> list[Obj]:
        """Every owned object labelled with the server and with no tenant."""
        references = self._by_server.get(server, ())
        return self._collect((kind, key) for kind, key in references if self._kinds[kind][key].tenant is None)

    def subscribe(self, kind: Kind, listener: Listener) -> None:
        """Call `listener(name, object or None when removed)` for every object of a cluster-scoped kind, now and later.

        What the listener refuses with ValueError, KeyError or TypeError is reported to it as removed, and logged.
        """
        self._listeners.setdefault(kind, []).append(listener)
        for (_, name), entry in self._kinds.get(kind, {}).items():
            _tell(listener, name, entry)

    def view(self, kind: Kind, parse: Callable[[Obj], T]) -> Mapping[str, T]:
        """A live, read-only mapping name -> parse(object) of a cluster-scoped kind; call it once and keep it."""
        values: dict[str, T] = {}

        def listener(name: str, obj: Obj | None) -> None:
            if obj is None:
                values.pop(name, None)
            else:
                values[name] = parse(obj)

        self.subscribe(kind, listener)
        return MappingProxyType(values)

    # -- writing -----------------------------------------------------------------------------------------

    def wrote(self, kind: Kind, obj: Obj) -> bool:
        """Take the answer to an own write; its echo in the watch is then no news.

        Returns True when it shows something to reconcile: one of our own kinds is new, or its spec or an annotation by
        people is not what was cached (changed by this write, or by a user behind its back, of which no event may tell:
        a list after a broken watch has the newest version only).
        """
        before = self.entry(kind, *_key(obj))
        metadata = obj["metadata"]
        _remember(self._own, (metadata["uid"], int(metadata["resourceVersion"])), None)
        if not self._put(kind, obj) or kind not in OURS:
            return False
        if before is None or before.uid != metadata["uid"] or before.generation != metadata.get("generation", 0):
            return True
        known = _decode(before)["metadata"].get("annotations")
        return labels.by_people(known) != labels.by_people(metadata.get("annotations"))

    def observed(self, kind: Kind, obj: Obj) -> bool:
        """Take an object from a watch or list; True when it is news (not an echo of an own write or of itself).

        A foreign change that is older than an own write is still news: nobody has reconciled it yet.
        """
        metadata = obj["metadata"]
        version = int(metadata["resourceVersion"])
        entry = self.entry(kind, *_key(obj))
        if entry is not None and entry.uid == metadata["uid"] and entry.version == version:
            return False
        dead = self._dead.get((kind, _key(obj)))
        if dead is not None and version <= dead:
            return False
        self._put(kind, obj)
        return (metadata["uid"], version) not in self._own

    def deleted(self, kind: Kind, obj: Obj) -> bool:
        """Take a DELETED event; False when a newer object has already taken the name."""
        return self.forget(kind, _key(obj), int(obj["metadata"]["resourceVersion"]))

    def forget(self, kind: Kind, key: Key, version: int) -> bool:
        """Remove what is not newer than `version`; False when there was nothing to remove."""
        _remember(self._dead, (kind, key), max(version, self._dead.get((kind, key), 0)))
        entry = self._kinds.get(kind, {}).get(key)
        if entry is None or entry.version > version:
            return False
        del self._kinds[kind][key]
        self._unindex(kind, key, entry)
        for listener in self._listeners.get(kind, ()):
            listener(key[1], None)
        return True

    def vanished(self, kind: Kind, present: set[Key], version: int) -> list[Obj]:
        """Remove every object that a complete list at `version` does not contain; returns them.

        Objects newer than the list (own writes made while it was read) stay.
        """
        entries = self._kinds.get(kind, {})
        gone = [(key, entry) for key, entry in entries.items() if key not in present and entry.version <= version]
        objects = [_decode(entry) for _, entry in gone]
        for key, _ in gone:
            self.forget(kind, key, version)
        return objects

    def _put(self, kind: Kind, obj: Obj) -> bool:
        key = _key(obj)
        metadata = obj["metadata"]
        version = int(metadata["resourceVersion"])
        entries = self._kinds.setdefault(kind, {})
        old = entries.get(key)
        if (old is not None and old.version >= version) or self._dead.get((kind, key), 0) >= version:
            return False
        marks = metadata.get("labels") or {}
        entry = Entry(
            raw=_compact(orjson.dumps(slim(kind, obj))),
            version=version,
            uid=metadata["uid"],
            generation=metadata.get("generation", 0),
            tenant=marks.get(labels.TENANT),
            server=marks.get(labels.SERVER),
        )
        if old is not None:
            self._unindex(kind, key, old)
        entries[key] = entry
        if entry.tenant is not None:
            self._by_tenant.setdefault(entry.tenant, set()).add((kind, key))
        if entry.server is not None:
            self._by_server.setdefault(entry.server, set()).add((kind, key))
        for listener in self._listeners.get(kind, ()):
            _tell(listener, key[1], entry)
        return True

    def _unindex(self, kind: Kind, key: Key, entry: Entry) -> None:
        for index, value in ((self._by_tenant, entry.tenant), (self._by_server, entry.server)):
            if value is None or value not in index:
                continue
            index[value].discard((kind, key))
            if not index[value]:
                del index[value]

    def _collect(self, references: Iterable[tuple[Kind, Key]]) -> list[Obj]:
        return [_decode(self._kinds[kind][key]) for kind, key in references]


def _key(obj: Obj) -> Key:
    metadata = obj["metadata"]
    return metadata.get("namespace"), metadata["name"]


def _compact(raw: bytes) -> bytes:
    """A copy of exact size: what orjson returns keeps its work space, up to three times its length."""
    return bytes(memoryview(raw))


def _decode(entry: Entry) -> Obj:
    decoded: Obj = orjson.loads(entry.raw)
    return decoded


def _tell(listener: Listener, name: str, entry: Entry) -> None:
    try:
        listener(name, _decode(entry))
    except (ValueError, KeyError, TypeError) as error:
        listener(name, None)
        # The error's text may hold values of the object, such as an e-mail address.
        log.warning("object cannot be parsed", object=name, error_type=type(error).__name__)


K = TypeVar("K")
V = TypeVar("V")


def _remember(memory: "OrderedDict[K, V]", key: K, value: V) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)
