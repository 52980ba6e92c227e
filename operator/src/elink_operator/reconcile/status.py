"""Writing a status: once, last, and only when something other than the clock differs."""

from typing import Any

from elink_operator import conditions, naming
from elink_operator.cluster.apply import is_subset
from elink_operator.cluster.errors import NotFound
from elink_operator.cluster.kinds import Kind, Obj
from elink_operator.conditions import Condition
from elink_operator.reconcile.context import Context

LAST_RECONCILE = "lastReconcileTime"


async def write_status(ctx: Context, kind: Kind, name: str, wanted: Obj) -> bool:
    """Bring `.status` to `wanted`; returns whether a request was needed. A value None removes the field.

    Fields that are not named stay. An Event tells of a new reason of Ready, once per change.
    """
    live = ctx.store.get(kind, None, name)
    if live is None:
        return False
    old = live.get("status") or {}
    changed = {key: value for key, value in wanted.items() if not _same(value, old.get(key))}
    if not changed:
        return False
    changed[LAST_RECONCILE] = conditions.timestamp(ctx.clock())
    try:
        await ctx.client.patch_status(kind, name, changed)
    except NotFound:
        return False
    await _tell(ctx, live, old, wanted)
    return True


async def ensure_finalizer(ctx: Context, kind: Kind, name: str, annotations: dict[str, str] | None = None) -> None:
    """Add our finalizer, and `annotations`, in one write; nothing when both are there.

    Raises Conflict when the object changed meanwhile.
    """
    live = ctx.store.get(kind, None, name)
    if live is None:
        return
    metadata = live["metadata"]
    ops = _finalizer_ops(metadata.get("finalizers")) + _annotation_ops(metadata.get("annotations"), annotations or {})
    if ops:
        await ctx.client.json_patch(kind, name, [_version_test(metadata), *ops])


async def remove_finalizer(ctx: Context, kind: Kind, name: str) -> None:
    """Let the object go; everything that it stood for must be gone."""
    live = ctx.store.get(kind, None, name)
    if live is None:
        return
    metadata = live["metadata"]
    finalizers = metadata.get("finalizers") or []
    if naming.FINALIZER not in finalizers:
        return
    path = f"/metadata/finalizers/{finalizers.index(naming.FINALIZER)}"
    ops = [{"op": "test", "path": path, "value": naming.FINALIZER}, {"op": "remove", "path": path}]
    try:
        await ctx.client.json_patch(kind, name, [_version_test(metadata), *ops])
    except NotFound:
        return


def conditions_of(ctx: Context, kind: Kind, name: str, generation: int, wanted: list[Condition]) -> list[Obj]:
    """The merged list of conditions of an object."""
    live = ctx.store.get(kind, None, name) or {}
    previous = (live.get("status") or {}).get("conditions") or ()
    return conditions.merge(previous, wanted, now=ctx.clock(), generation=generation)


def _same(wanted: Any, old: Any) -> bool:
    if wanted is None or isinstance(wanted, list):
        return bool(wanted == old) or (not wanted and not old)
    return is_subset(wanted, old)


async def _tell(ctx: Context, live: Obj, old: Obj, wanted: Obj) -> None:
    before = conditions.find(old.get("conditions") or (), conditions.READY)
    after = conditions.find(wanted.get("conditions") or (), conditions.READY)
    if after is None or (before is not None and before.get("reason") == after.get("reason")):
        return
    fine = after["status"] == "True"
    if before is None and fine:
        # Nobody had to wait: the status alone says it, and a creation costs one request less.
        return
    type_ = "Normal" if fine or before is None or before.get("status") != "True" else "Warning"
    await ctx.client.event(live, type_=type_, reason=str(after["reason"]), message=str(after["message"]))


def _version_test(metadata: Obj) -> Obj:
    return {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]}


def _finalizer_ops(present: list[str] | None) -> list[Obj]:
    if present and naming.FINALIZER in present:
        return []
    if not present:
        return [{"op": "add", "path": "/metadata/finalizers", "value": [naming.FINALIZER]}]
    return [{"op": "add", "path": "/metadata/finalizers/-", "value": naming.FINALIZER}]


def _annotation_ops(present: dict[str, str] | None, wanted: dict[str, str]) -> list[Obj]:
    missing = {key: value for key, value in wanted.items() if (present or {}).get(key) != value}
    if not missing:
        return []
    if not present:
        return [{"op": "add", "path": "/metadata/annotations", "value": missing}]
    return [
        {"op": "add", "path": f"/metadata/annotations/{key.replace('~', '~0').replace('/', '~1')}", "value": value}
        for key, value in missing.items()
    ]
