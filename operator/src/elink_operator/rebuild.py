"""`elink-operator rebuild SERVER`: after the loss of a server's database, its tenants come back from their backups.

The server itself is made again by the operator; each tenant whose database is lost gets an ElinkRestore InPlace, a few
at a time. May be stopped and started again: what is restored already, or being restored, is not begun twice.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

from elink_operator import conditions, labels, naming
from elink_operator.api import ElinkRestore, ElinkTenant
from elink_operator.api.meta import find_condition
from elink_operator.api.restore import Mode, RestorePhase
from elink_operator.cluster.client import Client
from elink_operator.cluster.connection import connect
from elink_operator.cluster.errors import ClusterError, Conflict
from elink_operator.cluster.kinds import RESTORE, TENANT
from elink_operator.desired.own_restores import build_rebuild
from elink_operator.metrics import Metrics
from elink_operator.settings import Settings

_LOOK_SECONDS = 3.0
Say = Callable[[str], object]


@dataclass(frozen=True)
class Plan:
    """Where the rebuilding of a server stands."""

    lost: tuple[ElinkTenant, ...]
    """Tenants whose database is gone and for whose loss no restore was made yet."""
    under_way: tuple[ElinkRestore, ...]
    ended: tuple[ElinkRestore, ...]
    """Restores for the present losses, and those that this run has begun or found under way."""
    whole: int
    """Tenants that lack nothing and were not restored."""

    @property
    def failed(self) -> tuple[ElinkRestore, ...]:
        """Restores that did not bring the data back."""
        return tuple(r for r in self.ended if r.status.phase is not RestorePhase.SUCCEEDED)


def rebuild_server(server: str, *, at_once: int, dry_run: bool) -> int:
    """Exit code: 0 every tenant is back, 1 some are not, 2 the cluster cannot be asked or has no such server."""
    try:
        return asyncio.run(_run(server, at_once, dry_run=dry_run))
    except (OSError, ValueError, LookupError, ClusterError) as error:
        sys.stderr.write(f"the cluster cannot be asked: {error}\n")
        return 2


async def _run(server: str, at_once: int, *, dry_run: bool) -> int:
    def say(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    async with Client(connect(Settings().kubeconfig), Metrics()) as client:
        if dry_run:
            plan = await _plan(client, server, frozenset())
            say(progress(plan))
            for tenant in plan.lost:
                generations = tenant.status.backup.generations
                say(f"{tenant.name}: the newest of {generations} generations would be restored{doubt(tenant)}")
            return 0
        return await rebuild(client, server, at_once, say)


async def rebuild(client: Client, server: str, at_once: int, say: Say, look: float = _LOOK_SECONDS) -> int:
    """Restore until nothing is lost or under way; `say` gets a line for each change. Exit code 0 or 1."""
    began, before, seen = time.monotonic(), "", set[str]()
    while True:
        plan = await _plan(client, server, seen)
        seen |= {restore.name for restore in plan.under_way}
        for tenant in plan.lost[: max(0, at_once - len(plan.under_way))]:
            seen.add(restore_name(tenant))
            with suppress(Conflict):
                await client.create(RESTORE, build_rebuild(tenant, restore_name(tenant)))
            say(f"{tenant.name}: the newest generation is being restored{doubt(tenant)}")
        line = progress(plan)
        if line != before:
            say(line)
            before = line
        if not plan.lost and not plan.under_way:
            say(summary(plan, time.monotonic() - began))
            return 1 if plan.failed else 0
        await asyncio.sleep(look)


async def _plan(client: Client, server: str, seen: Collection[str]) -> Plan:
    tenants, _ = await client.list(TENANT)
    restores, _ = await client.list(RESTORE)
    return plan_of(server, list(map(ElinkTenant.parse, tenants)), list(map(ElinkRestore.parse, restores)), seen)


def plan_of(
    server: str, tenants: Sequence[ElinkTenant], restores: Sequence[ElinkRestore], seen: Collection[str]
) -> Plan:
    """What is to be done for the tenants of `server`. Raises LookupError when it has none."""
    mine = [t for t in tenants if t.status.server == server and not t.deleting]
    if not mine:
        raise LookupError(f"no tenant lives on server {server}: see 'kubectl get et'")
    present = {restore.name for restore in restores}
    answers = {restore_name(t) for t in mine if is_lost(t)}
    own = {t.name for t in mine}
    asked = [
        r
        for r in restores
        if r.spec.tenant in own
        and r.spec.mode is Mode.IN_PLACE
        and (
            r.name in answers or r.name in seen or (r.metadata.labels.get(labels.REBUILD) == server and not r.finished)
        )
    ]
    lost = tuple(t for t in mine if is_lost(t) and restore_name(t) not in present)
    return Plan(
        lost=lost,
        under_way=tuple(r for r in asked if not r.finished),
        ended=tuple(r for r in asked if r.finished),
        whole=len(mine) - len(lost) - len({r.spec.tenant for r in asked}),
    )


def progress(plan: Plan) -> str:
    """One line: how many tenants are back, on their way, waiting, failed, untouched."""
    back = len(plan.ended) - len(plan.failed)
    return (
        f"restored {back}, being restored {len(plan.under_way)}, waiting {len(plan.lost)}, failed {len(plan.failed)}, "
        f"not lost {plan.whole}"
    )


def summary(plan: Plan, seconds: float) -> str:
    """The result: time taken, the age of the oldest data, and what to do about each failure."""
    ages = [r.status.data_age_seconds for r in plan.ended if r.status.data_age_seconds is not None]
    lines = [f"done in {seconds:.0f} s; the oldest data is {max(ages, default=0) / 3600:.1f} h old"]
    lines += [
        f"FAILED {r.spec.tenant}: {r.status.message}; repair that, 'kubectl delete er {r.name}' and run this again, or "
        "restore another generation yourself (docs/backup-and-restore.md)"
        for r in plan.failed
    ]
    return "\n".join(lines)


def doubt(tenant: ElinkTenant) -> str:
    """What speaks against the newest generation: its last restore on trial."""
    drill = tenant.status.restore_drill
    return f"; its last drill failed: {drill.message}" if drill is not None and drill.result == "Failed" else ""


def is_lost(tenant: ElinkTenant) -> bool:
    """Whether the operator says that the tenant's database is gone."""
    found = find_condition(tenant.status.conditions, conditions.DATABASE_READY)
    return found is not None and found.reason == "DatabaseLost"


def restore_name(tenant: ElinkTenant) -> str:
    """One name for each loss, so that a second run does not restore twice."""
    lost_at = tenant.status.database_lost_at
    mark = naming.digest(f"{tenant.metadata.uid} {conditions.timestamp(lost_at) if lost_at else ''}")
    return f"rebuild-{naming.short_id(tenant.name)}-{mark}"
