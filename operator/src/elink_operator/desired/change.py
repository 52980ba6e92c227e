"""The ElinkChange of a tenant or server: what differs, in which word, by whom. Pure.

A record outlives the tenant, so it holds nothing of people: of names, addresses and texts the first character only.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from elink_operator import labels, naming
from elink_operator.api import change
from elink_operator.api.change import LONGEST_SUMMARY, LONGEST_VALUE, LONGEST_WHO, MOST_FIELDS, FieldChange
from elink_operator.desired.pod import Obj
from elink_operator.jst import jst

UNKNOWN: Final = "unknown (webhook was away)"
"""Whoever changed the spec while the webhook was not asked: an outage, or `kubectl scale`, which it does not see."""

NAMELESS: Final = "unknown (a deletion names nobody)"
"""Admission can note nothing in what is being deleted."""

CREATED: Final = "Created"
RECORDS_BEGIN: Final = "RecordsBegin"
ANNOTATED: Final = "Annotated"
DELETED: Final = "DeletionAsked"
ERASED: Final = "Erased"
REMOVED: Final = "Removed"
DATABASE_RECREATED: Final = "DatabaseRecreated"

_PERSONAL: Final = frozenset(
    {
        "displayName",
        "stateReason",
        "masterAccount.email",
        "contacts.emails",
        "contacts.chatworkRoomId",
        "mail.from",
        "mail.replyTo",
    }
)
_SIZES: Final = ("size.", "app.", "worker.", "database.storage", "database.resources", "files.size", "maxTenants")
_STATES: Final = {"Suspended": "Suspended", "Cancelled": "Cancelled", "Active": "Resumed"}


@dataclass(frozen=True)
class About:
    """Whose change it is: kind (`ElinkTenant`, `ElinkServer`), name, uid, and the server that a tenant lives on."""

    kind: str
    name: str
    uid: str
    server: str = ""

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> "About":
        """Of an object as the API server has it."""
        metadata = obj["metadata"]
        server = metadata["name"] if obj["kind"] == "ElinkServer" else (obj.get("status") or {}).get("server", "")
        return cls(obj["kind"], metadata["name"], metadata["uid"], server)


def spec_author(obj: Mapping[str, Any]) -> str:
    """Who made the present generation of the spec, as the webhook noted; UNKNOWN when it noted another one."""
    metadata = obj["metadata"]
    noted = (metadata.get("annotations") or {}).get(labels.CHANGED_BY, "")
    generation, _, who = noted.partition(" ")
    return who if who and generation == str(metadata.get("generation", 0)) else UNKNOWN


def annotation_author(obj: Mapping[str, Any]) -> str:
    """Who set the annotations that are there now, as the webhook noted; UNKNOWN when it noted others."""
    annotations = obj["metadata"].get("annotations") or {}
    digest, _, rest = annotations.get(labels.ANNOTATED_BY, "").partition(" ")
    who = rest.partition(" ")[2]
    return who if who and digest == annotations_digest(annotations) else UNKNOWN


def annotations_digest(annotations: Mapping[str, str] | None) -> str:
    """A short hash of the annotations by people."""
    return naming.digest(compact(labels.by_people(annotations)), 16)


def compact(value: Any) -> str:
    """JSON in one spelling."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[FieldChange]:
    """Fields of a spec that differ, personal ones masked; lists are compared as a whole."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    changed = [path for path in sorted(old.keys() | new.keys()) if old.get(path) != new.get(path)]
    return [
        FieldChange(field=path, before=_shown(path, old.get(path)), after=_shown(path, new.get(path)))
        for path in changed[:MOST_FIELDS]
    ]


def what_changed(kind: str, fields: list[FieldChange]) -> str:
    """The change in one word: what a customer feels most comes first."""
    by_path = {field.field: field for field in fields}
    state = by_path.get("state") if kind == "ElinkTenant" else None
    if state is not None and state.before == "Cancelled":
        return "CancellationUndone"
    if state is not None:
        return _STATES.get(state.after, "Changed")
    if "version" in by_path:
        return "Upgraded"
    if "cordoned" in by_path:
        return "Cordoned" if by_path["cordoned"].after == "true" else "Uncordoned"
    if any(path.startswith(_SIZES) for path in by_path):
        return "Resized"
    return "Changed"


def build_change(
    about: About,
    *,
    key: str,
    what: str,
    who: str,
    now: datetime,
    generation: int,
    since: int | None = None,
    fields: list[FieldChange] | None = None,
    summary: str = "",
) -> Obj:
    """The record. `key` tells it from the others of the same object: the same change has the same name, always."""
    fields = fields or []
    tenant = {labels.TENANT: about.name, labels.TENANT_UID: about.uid} if about.kind == "ElinkTenant" else {}
    server = {labels.SERVER: about.server} if about.server else {}
    spec = change.ChangeSpec(
        at=jst(now),
        who=who[:LONGEST_WHO],
        what=what,
        kind=about.kind,
        name=about.name,
        uid=about.uid,
        generation=generation,
        since=generation if since is None else since,
        summary=(summary or sentence(fields))[:LONGEST_SUMMARY],
        fields=tuple(fields),
    )
    prefix = "server" if about.kind == "ElinkServer" else "tenant"
    return {
        "apiVersion": naming.API_VERSION,
        "kind": change.KIND,
        "metadata": {
            "name": f"{prefix}-{naming.short_id(about.name)}-{naming.digest(about.uid)}-{key}",
            "labels": {labels.MANAGED_BY: labels.MANAGED_BY_VALUE, **server, **tenant},
        },
        "spec": spec.dump(),
    }


def sentence(fields: list[FieldChange]) -> str:
    """What differs, for a list or an Event."""
    return ", ".join(f"{f.field}: {f.before or 'none'} -> {f.after or 'none'}" for f in fields)


def _leaves(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        here = f"{path}.{key}" if path else key
        if isinstance(value, Mapping):
            yield from _leaves(value, here)
        else:
            yield here, value


def _shown(path: str, value: Any) -> str:
    if value is None:
        return ""
    if path in _PERSONAL:
        return ", ".join(map(_mask, value))[:LONGEST_VALUE] if isinstance(value, list) else _mask(value)
    return (value if isinstance(value, str) else compact(value))[:LONGEST_VALUE]


def _mask(value: Any) -> str:
    text = str(value)
    return f"{text[:1]}…" if text else ""
