"""Kubernetes Events: built here, posted by the client, never the same one twice within ten minutes."""

import os
import secrets
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic
from typing import Final

from elink_operator import naming
from elink_operator.cluster.kinds import Obj

_REMEMBERED: Final = 5_000
_MESSAGE_LIMIT: Final = 1024
_CLUSTER_SCOPED_NAMESPACE: Final = "default"

_Known = tuple[str, str, str]


class Recorder:
    """Builds core/v1 Events and drops repetitions of (uid, reason, message)."""

    def __init__(self, period: float = 600, clock: Callable[[], float] = monotonic) -> None:
        self._period = period
        self._clock = clock
        self._posted: OrderedDict[_Known, float] = OrderedDict()

    def build(self, regarding: Obj, *, type_: str, reason: str, message: str) -> Obj | None:
        """The Event to POST, or None when it was built less than `period` seconds ago.

        `regarding` needs apiVersion, kind and metadata (name, uid, namespace if it has one).
        """
        known = _known(regarding, reason, message)
        now = self._clock()
        posted = self._posted.get(known)
        if posted is not None and now - posted < self._period:
            return None
        self._posted[known] = now
        self._posted.move_to_end(known)
        if len(self._posted) > _REMEMBERED:
            self._posted.popitem(last=False)
        return _event(regarding, type_, reason, message)

    def retract(self, regarding: Obj, *, reason: str, message: str) -> None:
        """The Event could not be posted: the next attempt is not a repetition."""
        self._posted.pop(_known(regarding, reason, message), None)


def _known(regarding: Obj, reason: str, message: str) -> _Known:
    return regarding["metadata"].get("uid", ""), reason, message


def _event(regarding: Obj, type_: str, reason: str, message: str) -> Obj:
    metadata = regarding["metadata"]
    # Events are namespaced; those about cluster-scoped objects belong into `default`, where kubectl looks.
    namespace = metadata.get("namespace") or _CLUSTER_SCOPED_NAMESPACE
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    about = {
        "apiVersion": regarding["apiVersion"],
        "kind": regarding["kind"],
        "name": metadata["name"],
        "uid": metadata.get("uid", ""),
        "resourceVersion": metadata.get("resourceVersion", ""),
    }
    if metadata.get("namespace"):
        about["namespace"] = metadata["namespace"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{secrets.token_hex(8)}", "namespace": namespace},
        "involvedObject": about,
        "type": type_,
        "reason": reason,
        "message": message[:_MESSAGE_LIMIT],
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "source": {"component": naming.FIELD_MANAGER},
        "reportingComponent": naming.FIELD_MANAGER,
        "reportingInstance": os.environ.get("HOSTNAME", naming.FIELD_MANAGER),
    }
