"""Writing the record of an erasure: once per tenant, at the end of the chain, before the tenant may go."""

from collections.abc import Sequence

from elink_operator import labels
from elink_operator.api.erasure import Remaining, record_name
from elink_operator.api.tenant import ErasureStep
from elink_operator.cluster.errors import Conflict
from elink_operator.cluster.kinds import ERASURE, Obj
from elink_operator.desired.erasure import Link, Removed, build_erasure
from elink_operator.reconcile.context import Context
from elink_operator.reconcile.erase_case import Case, Hold

_ATTEMPTS = 20


async def ensure_record(
    case: Case, stores: Sequence[Removed], neighbours: str, remains: Sequence[Remaining] = ()
) -> Obj:
    """The tenant's ElinkErasure, made if it is not there. Raises Hold or ClusterError: then the tenant stays.

    A record's name is its place in the chain, so of two that are written at the same time one is refused and
    follows the other.
    """
    ctx = case.ctx
    async with ctx.memory.chain:
        for _ in range(_ATTEMPTS):
            # Also after a refusal: it may have been this tenant's own record, whose answer was lost.
            known = await _existing(ctx, case.tenant.metadata.uid)
            if known is not None:
                return known
            after = ctx.memory.chain_head or await _head(ctx)
            record = build_erasure(
                ctx.settings, case.tenant, stores, neighbours=neighbours, remains=remains, now=ctx.clock(), after=after
            )
            ctx.memory.chain_head = None
            try:
                made = await ctx.client.create(ERASURE, record)
            except Conflict:
                continue
            ctx.memory.chain_head = Link(after.sequence + 1, str(record["spec"]["hash"]))
            return made
    raise Hold("the record of the erasure could not be written: others are written all the time", retry_after=5)


def places(steps: Sequence[ErasureStep], proofs: dict[str, str]) -> list[Removed]:
    """Every place of every step. `proofs`: step → the step that looked again, where it is not the same."""
    looked = {step.name: step for step in steps}
    found = []
    for step in steps:
        again = looked[proofs.get(step.name) or step.name]
        if step.at is None or again.rechecked_at is None:
            continue
        for place in step.stores:
            found.append(Removed(place.store, place.name, place.removed, step.at, again.rechecked_at))
    return found


async def _existing(ctx: Context, uid: str) -> Obj | None:
    found, _ = await ctx.client.list(ERASURE, label_selector=f"{labels.TENANT_UID}={uid}")
    mine = [record for record in found if record["spec"]["tenantUid"] == uid]
    return mine[0] if mine else None


async def _head(ctx: Context) -> Link:
    """The newest record; what somebody made with another name is no part of the chain."""
    records, _ = await ctx.client.list(ERASURE)
    chain = [r["spec"] for r in records if r["metadata"]["name"] == record_name(int(r["spec"]["sequence"]))]
    newest = max(chain, key=lambda spec: int(spec["sequence"]), default=None)
    return Link() if newest is None else Link(int(newest["sequence"]), str(newest["hash"]))
