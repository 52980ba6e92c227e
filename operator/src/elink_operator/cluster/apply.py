"""Server-side apply that is skipped when nothing would change: a tenant at rest costs no request."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import orjson

from elink_operator import labels
from elink_operator.cluster.client import Client
from elink_operator.cluster.kinds import SECRET, Kind, Obj
from elink_operator.cluster.slim import slim, with_encoded_values, without_values
from elink_operator.cluster.store import Store
from elink_operator.metrics import Metrics

_QUANTITY_FIELDS: Final = frozenset(
    {
        "requests", "limits", "hard", "default", "defaultRequest", "min", "max", "maxLimitRequestRatio",
        "sizeLimit", "capacity",
    }
)  # fmt: skip
"""Below these keys values are resource quantities, which the server may write in another form."""

_QUANTITY: Final = re.compile(r"^([+-]?[0-9.]+)(?:[eE]([+-]?[0-9]+)|([KMGTPE]i|[numkMGTPE]))?$")
_FACTORS: Final = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "k": Decimal(10**3),
    "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15), "E": Decimal(10**18),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40),
    "Pi": Decimal(2**50), "Ei": Decimal(2**60),
}  # fmt: skip


def applied_hash(desired: Obj) -> str:
    """sha256 (hex, 64 digits) of the desired object with sorted keys, before the hash itself is added."""
    return hashlib.sha256(orjson.dumps(desired, option=orjson.OPT_SORT_KEYS)).hexdigest()


def quantity(value: object) -> Decimal | None:
    """The number behind a Kubernetes quantity ("1000m" is 1, "1Gi" is 1073741824); None when it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    match = _QUANTITY.match(str(value))
    if match is None or match[1].count(".") > 1 or not any(char.isdigit() for char in match[1]):
        return None
    number = Decimal(match[1])
    if match[2]:
        return number.scaleb(int(match[2]))
    return number * _FACTORS[match[3]] if match[3] else number


def is_subset(desired: Any, live: Any, *, quantities: bool = False) -> bool:
    """Whether `live` already says everything that `desired` says.

    Maps recursively (live may have more), lists by position and length, quantities by value. What the server
    leaves out because it is empty (False, 0, "", [], {}, None) equals what is not there.
    """
    if isinstance(desired, Mapping):
        there = {} if live is None else live
        return isinstance(there, Mapping) and all(
            is_subset(value, there.get(key), quantities=quantities or key in _QUANTITY_FIELDS)
            for key, value in desired.items()
        )
    if isinstance(desired, Sequence) and not isinstance(desired, str):
        if not desired and live is None:
            return True
        return (
            isinstance(live, Sequence)
            and not isinstance(live, str)
            and len(desired) == len(live)
            and all(is_subset(a, b, quantities=quantities) for a, b in zip(desired, live, strict=True))
        )
    if desired == live:
        return type(desired) is not bool or type(live) is bool
    if live is None:
        return not desired
    if not quantities:
        return False
    wanted = quantity(desired)
    return wanted is not None and wanted == quantity(live)


class Applier:
    """Applies desired objects; skips those whose hash and fields are already in the cache."""

    def __init__(self, client: Client, store: Store, metrics: Metrics) -> None:
        self._client = client
        self._store = store
        self._metrics = metrics
        self._own: dict[str, tuple[int, str]] = {}

    async def apply_if_changed(self, kind: Kind, desired: Obj) -> Obj:
        """Bring the object to `desired`; returns its live state (slim: Secrets without values).

        `desired` carries apiVersion, kind, metadata with name (and namespace) and the operator's labels. Raises
        the ClusterErrors of `Client.apply`.
        """
        if kind == SECRET:
            desired = with_encoded_values(desired)
        digest = applied_hash(desired)
        metadata = desired["metadata"]
        live = self._store.get(kind, metadata.get("namespace"), metadata["name"])
        if live is not None and self._is_applied(kind, desired, digest, live):
            return live
        answer = await self._client.apply(kind, _with_hash(desired, digest))
        self._own[answer["metadata"]["uid"]] = (int(answer["metadata"]["resourceVersion"]), digest)
        self._metrics.applies.labels(kind.kind, "applied").inc()
        return slim(kind, answer)

    def forget(self, obj: Obj) -> None:
        """The object is gone: its uid never comes back."""
        self._own.pop(obj["metadata"]["uid"], None)

    def _is_applied(self, kind: Kind, desired: Obj, digest: str, live: Obj) -> bool:
        metadata = live["metadata"]
        if metadata.get("deletionTimestamp"):
            # Applying to an object that is going away changes nothing and would not bring it back.
            return False
        if (metadata.get("annotations") or {}).get(labels.APPLIED_HASH) != digest:
            return False
        if is_subset(without_values(desired) if kind == SECRET else desired, live):
            self._metrics.applies.labels(kind.kind, "unchanged").inc()
            return True
        # The server stores some field in a form of its own: what it made of our last apply is what we get.
        if self._own.get(metadata["uid"]) == (int(metadata["resourceVersion"]), digest):
            self._metrics.applies.labels(kind.kind, "rewritten").inc()
            return True
        return False


def _with_hash(desired: Obj, digest: str) -> Obj:
    metadata = desired["metadata"]
    annotations = {**(metadata.get("annotations") or {}), labels.APPLIED_HASH: digest}
    return {**desired, "metadata": {**metadata, "annotations": annotations}}
