"""Gauges about customers, made from the cache at each scrape: what the on-call person asks first."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from elink_operator import conditions, observe
from elink_operator.api.admission import is_to_be_erased
from elink_operator.api.meta import find_condition
from elink_operator.api.server import ElinkServer
from elink_operator.api.tenant import ElinkTenant
from elink_operator.api.world import World
from elink_operator.desired.letter import letters_due

READY = "Ready"
PROMISE: Final = timedelta(days=30)
"""Customers were told that their data is erased within this time (R18)."""


class BusinessCollector(Collector):
    """Collects from the newest known tenants and servers; `clock` gives the aware present."""

    def __init__(
        self, world: World, clock: Callable[[], datetime], drill_days: int = 0, *, tells_contacts: bool = False
    ) -> None:
        self._tells_contacts = tells_contacts
        self._world = world
        self._drill_days = drill_days
        self._clock = clock

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nothing to register in advance: names are checked by a test."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """All business gauges."""
        now = self._clock()
        tenants = list(self._world.tenants.values())
        yield from self._counts(tenants)
        yield from self._conditions(tenants)
        yield from self._servers()
        yield from _backups("elink_backup", "tenant", "", tenants, now)
        own = " of a server's own data (registry, journals)"
        yield from _backups("elink_server_backup", "server", own, self._world.servers.values(), now)
        yield from _drills(tenants, now, self._drill_days)
        yield self._unfinished_restores(now)
        yield _erasures(tenants, now)
        yield _promises(tenants, now)
        if self._tells_contacts:
            yield _untold(tenants, now)
        yield self._deletions(now)
        yield _unconfirmed(tenants)
        yield self._unread()

    def _counts(self, tenants: list[ElinkTenant]) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily("elink_tenants", "Tenants by plan and phase.", labels=["plan", "phase"])
        counts = Counter((tenant.spec.plan.value, tenant.status.phase.value) for tenant in tenants)
        for labels, count in counts.items():
            family.add_metric(list(labels), count)
        yield family

    def _conditions(self, tenants: list[ElinkTenant]) -> Iterator[GaugeMetricFamily]:
        ready = GaugeMetricFamily("elink_tenant_ready", "1 when the tenant is Ready.", labels=["tenant"])
        untrue = GaugeMetricFamily(
            "elink_tenant_condition",
            "Conditions that are not True: 0 for False, -1 for Unknown.",
            labels=["tenant", "type"],
        )
        lost = GaugeMetricFamily(
            "elink_tenant_database_lost",
            "1 while the tenant's database is gone and a person must decide; absent for all others.",
            labels=["tenant"],
        )
        for tenant in tenants:
            if tenant.status.database_lost_at is not None:
                lost.add_metric([tenant.name], 1)
            statuses = {entry.type: entry.status.value for entry in tenant.status.conditions}
            ready.add_metric([tenant.name], float(statuses.get(READY) == "True"))
            for type_, status in statuses.items():
                if status != "True":
                    untrue.add_metric([tenant.name, type_], 0 if status == "False" else -1)
        yield ready
        yield untrue
        yield lost

    def _servers(self) -> Iterator[GaugeMetricFamily]:
        present = GaugeMetricFamily("elink_server_tenants", "Tenants that live on the server.", labels=["server"])
        capacity = GaugeMetricFamily("elink_server_capacity", "How many may live there.", labels=["server"])
        harmed = GaugeMetricFamily(
            "elink_erasure_neighbours_harmed",
            "Erasures after which other tenants lacked something; above 0 all erasures on the server are stopped.",
            labels=["server"],
        )
        ready = GaugeMetricFamily("elink_server_ready", "1 when the server is Ready.", labels=["server"])
        changing = GaugeMetricFamily(
            "elink_server_changing",
            "1 while a change of the server (version, size, passwords) is not in effect everywhere.",
            labels=["server"],
        )
        for server in self._world.servers.values():
            residents = self._world.residents(server.name)
            present.add_metric([server.name], len(residents) + len(self._world.unread_residents(server.name)))
            harmed.add_metric([server.name], sum(map(observe.harms_neighbours, residents)))
            capacity.add_metric([server.name], server.spec.capacity)
            found = find_condition(server.status.conditions, READY)
            ready.add_metric([server.name], float(found is not None and found.status.value == "True"))
            unfinished = found is not None and found.reason == conditions.CHANGING
            changing.add_metric([server.name], float(unfinished))
        yield present
        yield capacity
        yield harmed
        yield ready
        yield changing

    def _unfinished_restores(self, now: datetime) -> GaugeMetricFamily:
        family = GaugeMetricFamily(
            "elink_restore_unfinished_seconds",
            "Since a restore began that has not ended.",
            labels=["restore", "tenant", "mode"],
        )
        for restore in self._world.restores.values():
            if restore.running and restore.status.started_at is not None:
                labels = [restore.name, restore.spec.tenant, restore.spec.mode.value]
                family.add_metric(labels, (now - restore.status.started_at).total_seconds())
        return family

    def _unread(self) -> GaugeMetricFamily:
        family = GaugeMetricFamily(
            "elink_object_not_readable",
            "1 while the operator cannot read the object, for which it does nothing; absent for all others.",
            labels=["kind", "object"],
        )
        for unread in self._world.unread.values():
            family.add_metric([unread.kind, unread.name], 1)
        return family

    def _deletions(self, now: datetime) -> GaugeMetricFamily:
        family = GaugeMetricFamily(
            "elink_oldest_deletion_age_seconds", "Age of the oldest unfinished deletion; 0 when there is none."
        )
        metadata = [
            *(tenant.metadata for tenant in self._world.tenants.values()),
            *(server.metadata for server in self._world.servers.values()),
        ]
        asked = [entry.deletion_timestamp for entry in metadata if entry.deletion_timestamp is not None]
        family.add_metric([], max((now - moment).total_seconds() for moment in asked) if asked else 0)
        return family


def _unconfirmed(tenants: list[ElinkTenant]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "elink_deletion_unconfirmed",
        "1 while the tenant was deleted and nobody confirmed that its data is to be erased; absent for all others.",
        labels=["tenant"],
    )
    for tenant in tenants:
        if tenant.deleting and not is_to_be_erased(tenant):
            family.add_metric([tenant.name], 1)
    return family


def _backups(
    prefix: str, label: str, of_what: str, owners: Iterable[ElinkTenant | ElinkServer], now: datetime
) -> Iterator[GaugeMetricFamily]:
    """What is in the store of each owner; `of_what` ends the texts of help."""
    age = GaugeMetricFamily(f"{prefix}_newest_age_seconds", f"Age of the newest generation{of_what}.", labels=[label])
    generations = GaugeMetricFamily(f"{prefix}_generations", f"Generations{of_what} in the store.", labels=[label])
    damaged = GaugeMetricFamily(
        f"{prefix}_damaged_generations", f"Generations{of_what} that cannot come back any more.", labels=[label]
    )
    for owner in owners:
        backup = owner.status.backup
        generations.add_metric([owner.name], backup.generations)
        damaged.add_metric([owner.name], len(backup.damaged))
        if backup.newest is not None:
            age.add_metric([owner.name], (now - backup.newest).total_seconds())
    yield from (age, generations, damaged)


def _drills(tenants: list[ElinkTenant], now: datetime, days: int) -> Iterator[GaugeMetricFamily]:
    """What the rehearsals of a restore measured; nothing of tenants without a backup."""
    seconds = GaugeMetricFamily(
        "elink_restore_drill_seconds", "How long the last drill took: what a restore would take.", labels=["tenant"]
    )
    age = GaugeMetricFamily(
        "elink_restore_drill_data_age_seconds",
        "Age of the restored data when the last drill began: what a restore would have lost.",
        labels=["tenant"],
    )
    failed = GaugeMetricFamily("elink_restore_drill_failed", "1 when the last drill failed.", labels=["tenant"])
    proof = GaugeMetricFamily(
        "elink_restore_drill_proof_age_seconds",
        "Since a backup was last restored on trial and was as backed up; before the first, since the tenant was made.",
        labels=["tenant"],
    )
    limit = GaugeMetricFamily(
        "elink_restore_drill_limit_seconds", "How old a proof may be; absent when there are no drills."
    )
    if days:
        limit.add_metric([], timedelta(days=days).total_seconds())
    for tenant in tenants:
        drill, name = tenant.status.restore_drill, [tenant.name]
        if drill is not None:
            seconds.add_metric(name, drill.seconds)
            age.add_metric(name, drill.data_age_seconds)
            failed.add_metric(name, float(drill.result != "Succeeded"))
        since = (drill.proven_at if drill is not None else None) or tenant.metadata.creation_timestamp
        if tenant.status.backup.generations and since is not None:
            proof.add_metric(name, (now - since).total_seconds())
    yield from (seconds, age, failed, proof, limit)


def _promises(tenants: list[ElinkTenant], now: datetime) -> GaugeMetricFamily:
    """From the cancellation, or from the deletion of who never was cancelled."""
    family = GaugeMetricFamily(
        "elink_erasure_days_left",
        "Days until 30 days after the cancellation (or deletion) are over; the promise is broken below 0.",
        labels=["tenant"],
    )
    for tenant in tenants:
        since = tenant.status.cancelled_at or tenant.metadata.deletion_timestamp
        if since is not None:
            family.add_metric([tenant.name], (since + PROMISE - now) / timedelta(days=1))
    return family


def _untold(tenants: list[ElinkTenant], now: datetime) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "elink_contacts_untold",
        "Letters about a cancellation that are due and that the relay has not taken; absent when there are none.",
        labels=["tenant"],
    )
    for tenant in tenants:
        due = letters_due(tenant, now)
        if due:
            family.add_metric([tenant.name], len(due))
    return family


def _erasures(tenants: list[ElinkTenant], now: datetime) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "elink_erasure_due_seconds",
        "Until a cancelled tenant must be erased; negative when it is late.",
        labels=["tenant"],
    )
    for tenant in tenants:
        due = tenant.status.erase_after
        if due is not None:
            family.add_metric([tenant.name], (due - now).total_seconds())
    return family
