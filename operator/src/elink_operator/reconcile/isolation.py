"""The condition Isolated: from packets of the isolation probe, not from policies that were written."""

import asyncio
from datetime import timedelta

from elink_operator import conditions, naming, observe
from elink_operator.conditions import Condition
from elink_operator.reconcile.context import Context

PROBE_EVERY = timedelta(seconds=45)
_PATIENCE = timedelta(minutes=5)
"""For so long a probe that cannot be asked does not take back what it found before."""


async def isolation(ctx: Context, server: str, targets: dict[str, tuple[str, int]]) -> Condition:
    """Ask the probe about `targets` (name -> host, port), at most every 45 seconds per server.

    Only what is up may be a target: a dead port cannot be told from a protected one.
    """
    now = ctx.clock()
    known = ctx.memory.isolation.get(server)
    if known is not None and now - known[0] < PROBE_EVERY:
        return known[1]
    if not targets:
        return conditions.unknown(
            conditions.ISOLATED, "NothingToProbe", "app and database must be up before the probe can be asked"
        )
    answers = await asyncio.gather(*(ctx.prober.reachable(host, port) for host, port in targets.values()))
    found = observe.isolation_condition(dict(zip(targets, answers, strict=True)))
    if found.status == "Unknown" and known is not None and now - known[0] < _PATIENCE:
        return known[1]
    ctx.memory.isolation[server] = (now, found)
    return found


def targets_of(server: str, *, database_up: bool, app_up: bool) -> dict[str, tuple[str, int]]:
    """What of a server an outsider must not reach."""
    namespace = naming.server_namespace(server)
    targets = {}
    if app_up:
        targets["the app"] = (f"{naming.WEB}.{namespace}.svc", naming.WEB_SERVICE_PORT)
    if database_up:
        targets["the database"] = (f"{naming.POSTGRES}.{namespace}.svc", naming.POSTGRES_PORT)
    return targets
