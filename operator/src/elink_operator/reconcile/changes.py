"""Records of changes (docs/adr/0019): written before a change takes effect, found again after a kill, removed with age.

`status.recorded` says what the newest record says. While spec or annotations differ from it, a record is due; its name
depends on nothing but the change, so a second one is refused by the API server. The field rides on the status that is
written anyway: a change costs one write, and one Event; a creation no Event.
"""

import asyncio
import json
from datetime import datetime, timedelta
from typing import Final

import structlog

from elink_operator import conditions, labels, naming
from elink_operator.api.meta import Recorded
from elink_operator.cluster.errors import ClusterError, Conflict, NotLeader
from elink_operator.cluster.kinds import CHANGE, Kind, Obj
from elink_operator.desired import change
from elink_operator.desired.change import About, build_change
from elink_operator.reconcile.clock import clock_is_trusted
from elink_operator.reconcile.context import Context

log = structlog.get_logger()

# What an Event would not make clearer: an object that is there, and an upgrade of the operator, of all objects at once.
_SILENT: Final = frozenset({change.CREATED, change.RECORDS_BEGIN})
_PRUNE_SECONDS: Final = 6 * 3600.0
_PRUNE_RETRY_SECONDS: Final = 300.0


async def record(ctx: Context, kind: Kind, name: str) -> None:
    """Write what is due of a tenant or server. Without an answer the change takes effect, and is recorded later."""
    live = ctx.store.get(kind, None, name)
    if live is None:
        return
    uid, status = live["metadata"]["uid"], (live.get("status") or {}).get("recorded")
    known = _newest(ctx.memory.recorded.get(uid), status)
    if known is not None and _is_of(known, live):
        if known is status:
            ctx.memory.recorded.pop(uid, None)
        return
    now = ctx.clock().replace(microsecond=0)
    for made in _due(live, None if known is None else Recorded.parse(known), now):
        if not await _write(ctx, live, made, event=made["spec"]["what"] not in _SILENT):
            return
    ctx.memory.recorded[uid] = {
        "generation": live["metadata"].get("generation", 0),
        "at": conditions.timestamp(now),
        "spec": change.compact(live.get("spec") or {}),
        "annotations": _annotations(live),
    }


def fields(ctx: Context, uid: str) -> Obj:
    """`recorded` of the status that is about to be written; nothing when it is as it was."""
    found = ctx.memory.recorded.get(uid)
    return {} if found is None else {"recorded": found}


def forget(ctx: Context, uid: str) -> None:
    """Drop what this process remembers of an object that is gone."""
    ctx.memory.recorded.pop(uid, None)


async def note(
    ctx: Context, kind: Kind, name: str, *, what: str, key: str, summary: str, who: str = naming.FIELD_MANAGER
) -> None:
    """Record what the operator did, for `who`. `key`: the same deed has the same key. Its own Event is the caller's."""
    live = ctx.store.get(kind, None, name)
    if live is not None:
        made = build_change(
            About.of(live),
            key=key,
            what=what,
            who=who,
            now=ctx.clock(),
            generation=live["metadata"].get("generation", 0),
            summary=summary,
        )
        await _write(ctx, live, made, event=False)


async def prune_forever(ctx: Context) -> None:
    """Remove records that are older than the setting, four times a day, while this process leads."""
    while True:
        pause = _PRUNE_SECONDS
        try:
            removed = await prune(ctx)
            if removed:
                log.info("old records of changes were removed", records=removed, days=ctx.settings.change_record_days)
        except NotLeader:
            raise
        except ClusterError as error:
            log.warning("old records of changes cannot be removed", error=str(error))
            pause = _PRUNE_RETRY_SECONDS
        await asyncio.sleep(pause)


async def prune(ctx: Context) -> int:
    """Remove the records whose time is over; returns how many: none while our clock and the API server's disagree."""
    if not clock_is_trusted(ctx):
        return 0
    oldest = ctx.clock() - timedelta(days=ctx.settings.change_record_days)
    old: list[tuple[str, str]] = []
    async for page, _ in ctx.client.pages(CHANGE, metadata_only=True):
        for one in page:
            metadata = one["metadata"]
            if conditions.parse_timestamp(metadata["creationTimestamp"]) < oldest:
                old.append((metadata["name"], metadata["uid"]))
    for name, uid in old:
        await ctx.client.delete(CHANGE, name, uid=uid)
    return len(old)


def _newest(remembered: Obj | None, status: Obj | None) -> Obj | None:
    """What was recorded last: in memory until the status shows it, or what another leader wrote there since."""
    if remembered is None or (status is not None and status["at"] >= remembered["at"]):
        return status
    return remembered


def _is_of(known: Obj, live: Obj) -> bool:
    """Whether what was recorded is what there is now."""
    return bool(
        known["generation"] == live["metadata"].get("generation", 0) and known["annotations"] == _annotations(live)
    )


def _annotations(live: Obj) -> str:
    return change.compact(labels.by_people(live["metadata"].get("annotations")))


def _due(live: Obj, known: Recorded | None, now: datetime) -> list[Obj]:
    """The records that are missing: of the spec, of the annotations."""
    about, metadata = About.of(live), live["metadata"]
    generation = metadata.get("generation", 0)
    common = {"now": now, "generation": generation}
    due = []
    if known is None:
        first = not (live.get("status") or {}).get("observedGeneration")
        due.append(
            build_change(
                about,
                key=f"{generation:06d}",
                what=change.CREATED if first else change.RECORDS_BEGIN,
                who=change.spec_author(live) if first else naming.FIELD_MANAGER,
                fields=change.differences({}, live.get("spec") or {}),
                since=0,
                **common,
            )
        )
    elif known.generation != generation:
        fields_ = change.differences(json.loads(known.spec or "{}"), live.get("spec") or {})
        # A deletion makes a new generation of the same spec.
        deleted = not fields_ and bool(metadata.get("deletionTimestamp"))
        due.append(
            build_change(
                about,
                key=f"{generation:06d}",
                what=change.DELETED if deleted else change.what_changed(about.kind, fields_),
                who=_who_deleted(live, now) if deleted else change.spec_author(live),
                fields=fields_,
                since=known.generation,
                **common,
            )
        )
    before = json.loads(known.annotations or "{}") if known else {}
    after = labels.by_people(metadata.get("annotations"))
    if before != after:
        since = known.at.isoformat() if known and known.at else ""
        due.append(
            build_change(
                about,
                key=f"{generation:06d}-{naming.digest(since + change.compact(after))}",
                what=change.ANNOTATED,
                who=change.annotation_author(live),
                fields=change.differences(before, after),
                **common,
            )
        )
    return due


def _who_deleted(live: Obj, now: datetime) -> str:
    """The operator, when the time to undo is over; else somebody whom nobody noted."""
    due = (live.get("status") or {}).get("eraseAfter")
    return naming.FIELD_MANAGER if due and conditions.parse_timestamp(due) <= now else change.NAMELESS


async def _write(ctx: Context, live: Obj, made: Obj, *, event: bool = True) -> bool:
    """Create a record and tell of it; True when it is there."""
    spec = made["spec"]
    try:
        await ctx.client.create(CHANGE, made)
    except Conflict:
        return True
    except NotLeader:
        raise
    except ClusterError as error:
        # The service does not wait for its record (an old elink-crds, a refusal): it is tried at every look.
        log.warning("a change could not be recorded", record=made["metadata"]["name"], error=str(error))
        ctx.metrics.changes.labels("failed").inc()
        return False
    ctx.metrics.changes.labels("written").inc()
    if event:
        message = f"{spec['what']} by {spec['who']}: {spec['summary']}"
        await ctx.client.event(live, type_="Normal", reason=spec["what"], message=message)
    return True
