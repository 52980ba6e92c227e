"""An object that does not parse: nothing is done for it, and that is said."""

from elink_operator import __version__, conditions
from elink_operator.cluster.errors import ClusterError, NotLeader
from elink_operator.cluster.kinds import RESTORE, Kind
from elink_operator.conditions import Condition
from elink_operator.reconcile.context import Context, Outcome
from elink_operator.reconcile.status import write_status

REASON = "NotReadable"


async def report_unread(ctx: Context, kind: Kind, name: str) -> Outcome:
    """An Event and, where the status takes it, a condition; once per generation. Nothing for an object that is gone."""
    unread, live = ctx.world.unread.get((kind.kind, name)), ctx.store.get(kind, None, name)
    if unread is None or live is None or ctx.memory.unread_told.get(unread.uid) == unread.generation:
        return Outcome()
    message = (
        f"operator {__version__} cannot read this object: {unread.problems}. Nothing is done for it and nothing of it "
        "is removed; what it takes counts as taken. Correct the fields, or run the operator (and the CRDs) of the "
        "version that wrote it"
    )
    await ctx.client.event(live, type_="Warning", reason=REASON, message=message)
    told = conditions.false("Complete" if kind == RESTORE else conditions.READY, REASON, message)
    try:
        await write_status(ctx, kind, name, {"conditions": _with(ctx, live.get("status"), told, unread.generation)})
    except NotLeader:
        raise
    except ClusterError:
        pass  # The schema refuses what is there; the Event, the log and the metric say it.
    ctx.memory.unread_told[unread.uid] = unread.generation
    return Outcome()


def _with(ctx: Context, status: object, told: Condition, generation: int) -> list[dict[str, object]]:
    """The conditions as they are, with this one; what is no condition goes."""
    listed = status.get("conditions") if isinstance(status, dict) else None
    known = [c for c in listed if isinstance(c, dict)] if isinstance(listed, list) else []
    (new,) = conditions.merge(known, [told], now=ctx.clock(), generation=generation)
    return [*(c for c in known if c.get("type") != told.type), new]
