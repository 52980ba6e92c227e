"""Which keys a change puts into the queue, and into which lane."""

from typing import Any

import pytest
from elink_operator import labels
from elink_operator.api.world import World
from elink_operator.cluster.kinds import DEPLOYMENT, JOB, RESTORE, SECRET, SERVER, TENANT, Obj
from elink_operator.cluster.store import Store
from elink_operator.engine import feed
from elink_operator.metrics import Metrics
from elink_operator.triggers import Triggers, lane_of
from elink_operator.workqueue import Key, Lane, WorkQueue

READY = [{"type": "Ready", "status": "True", "reason": "Fine", "lastTransitionTime": "2026-01-01T00:00:00Z"}]


class Forgetful:
    """Takes the applier's place."""

    def __init__(self) -> None:
        self.forgotten: list[str] = []

    def forget(self, obj: Obj) -> None:
        self.forgotten.append(obj["metadata"]["name"])


class Rig:
    """Triggers with a real store, world and queue."""

    def __init__(self) -> None:
        self.store = Store()
        self.world = World(base_domain="example.com", regions=frozenset({"jp"}), default_region="jp")
        feed(self.world, self.store)
        self.queue = WorkQueue(Metrics(), bulk_limit=100)
        self.applier = Forgetful()
        self.triggers = Triggers(self.store, self.queue, self.applier, self.world)  # type: ignore[arg-type]
        self.triggers.active = True
        self.version = 0

    async def queued(self) -> list[tuple[Key, Lane]]:
        """What waits, in the order of work; empties the queue."""
        found = []
        while not self.queue.idle():
            job = await self.queue.get()
            found.append((job.key, job.lane))
            self.queue.done(job.key)
        return found

    def tenant(self, name: str = "a", *, generation: int = 1, pin: str = "", **status: Any) -> Obj:
        spec = {"plan": "Shared", "displayName": "x", "masterAccount": _MASTER}
        return self._body(name, generation, status, {**spec, "server": pin} if pin else spec)

    def server(self, name: str = "s", *, generation: int = 1, **status: Any) -> Obj:
        return self._body(name, generation, status, {"tenancy": "Shared"})

    def restore(self, name: str, tenant: str = "a", copy: str = "", to: str = "", **status: Any) -> Obj:
        wanted: Obj = {"tenant": tenant, "mode": "Drill"}
        if copy:
            wanted |= {"mode": "AsNew", "asNew": {"tenant": copy}}
        if to:
            wanted |= {"mode": "Move", "move": {"server": to}}
        return self._body(name, 1, status, wanted)

    def _body(self, name: str, generation: int, status: Obj, spec: Obj) -> Obj:
        self.version += 1
        metadata = {"name": name, "uid": f"u-{name}", "generation": generation, "resourceVersion": str(self.version)}
        return {"metadata": metadata, "spec": spec, "status": status}


_MASTER = {"email": "a@example.com"}


@pytest.fixture
async def rig() -> Rig:
    return Rig()


def tenant_key(name: str = "a") -> Key:
    return ("tenant", name)


async def test_a_new_tenant_is_new_and_its_change_is_urgent(rig: Rig) -> None:
    rig.triggers.received(TENANT, rig.tenant(), deleted=False)
    assert await rig.queued() == [(tenant_key(), Lane.NEW)]
    rig.triggers.received(TENANT, rig.tenant(generation=2), deleted=False)
    assert await rig.queued() == [(tenant_key(), Lane.URGENT)]


async def test_a_deletion_is_urgent_and_leaves_the_cache(rig: Rig) -> None:
    rig.triggers.received(TENANT, rig.tenant(), deleted=False)
    await rig.queued()
    rig.triggers.received(TENANT, rig.tenant(), deleted=True)
    assert await rig.queued() == [(tenant_key(), Lane.URGENT)]
    assert rig.world.tenants == {}


async def test_own_status_writes_wake_nobody(rig: Rig) -> None:
    rig.triggers.received(TENANT, rig.tenant(), deleted=False)
    await rig.queued()
    written = rig.tenant(phase="Active")
    rig.triggers.written(TENANT, written)
    rig.triggers.received(TENANT, written, deleted=False)
    assert await rig.queued() == []


async def test_a_change_that_an_own_write_overtook_is_reconciled(rig: Rig) -> None:
    rig.triggers.received(TENANT, rig.tenant(), deleted=False)
    await rig.queued()
    rig.triggers.written(TENANT, rig.tenant(generation=2, phase="Active"))
    assert await rig.queued() == [(tenant_key(), Lane.URGENT)]


async def test_a_server_that_the_operator_made_is_reconciled(rig: Rig) -> None:
    made = rig.server("dedicated")
    rig.triggers.written(SERVER, made)
    rig.triggers.received(SERVER, made, deleted=False)
    assert await rig.queued() == [(("server", "dedicated"), Lane.NEW)]


async def test_who_does_not_lead_caches_and_queues_nothing(rig: Rig) -> None:
    rig.triggers.active = False
    rig.triggers.received(TENANT, rig.tenant(), deleted=False)
    rig.triggers.owned(SECRET, _owned({labels.TENANT: "a"}), True)
    assert list(rig.world.tenants) == ["a"]
    assert rig.queue.idle()


def _owned(marks: dict[str, str]) -> Obj:
    return {"metadata": {"name": "o", "namespace": "n", "uid": "u", "resourceVersion": "1", "labels": marks}}


async def test_owned_objects_lead_to_their_owner(rig: Rig) -> None:
    rig.triggers.owned(SECRET, _owned({labels.TENANT: "a", labels.SERVER: "s"}), False)
    rig.triggers.owned(DEPLOYMENT, _owned({labels.SERVER: "s"}), True)
    rig.triggers.owned(SECRET, _owned({}), False)
    assert await rig.queued() == [(("server", "s"), Lane.URGENT), (tenant_key(), Lane.NEW)]
    assert rig.applier.forgotten == ["o"]


async def test_a_server_that_becomes_ready_wakes_its_tenants_and_the_homeless(rig: Rig) -> None:
    for obj in (rig.tenant("here", server="s"), rig.tenant("homeless"), rig.tenant("elsewhere", server="other")):
        rig.triggers.received(TENANT, obj, deleted=False)
    rig.triggers.received(SERVER, rig.server(), deleted=False)
    await rig.queued()
    rig.triggers.written(SERVER, rig.server(conditions=READY))
    assert sorted(await rig.queued()) == [(tenant_key("here"), Lane.NEW), (tenant_key("homeless"), Lane.NEW)]
    rig.triggers.written(SERVER, rig.server(conditions=READY, tenants=5))
    assert await rig.queued() == [], "a count is nothing that tenants wait for"


async def test_a_place_that_becomes_free_wakes_who_waits_for_it(rig: Rig) -> None:
    for obj in (
        rig.tenant("leaves", server="s", conditions=READY),
        rig.tenant("mover", server="s", conditions=READY),
        rig.tenant("homeless"),
        rig.tenant("pinned", pin="s"),
        rig.tenant("pinned-elsewhere", pin="other"),
        rig.tenant("would-come", pin="s", server="other", conditions=READY),
        rig.tenant("lives", pin="s", server="s", conditions=READY),
        rig.tenant("at-home", server="other", conditions=READY),
    ):
        rig.triggers.received(TENANT, obj, deleted=False)
    await rig.queued()
    waiting = [tenant_key(name) for name in ("homeless", "pinned", "would-come")]
    gone = rig.tenant("leaves", server="s")
    rig.triggers.received(TENANT, gone, deleted=True)
    assert sorted(await rig.queued()) == sorted(
        [(tenant_key("leaves"), Lane.URGENT), *((key, Lane.NEW) for key in waiting)]
    )
    rig.triggers.written(TENANT, rig.tenant("mover", server="other", conditions=READY))
    assert [key for key, _ in await rig.queued()] == waiting, "one moved away"
    rig.triggers.written(TENANT, rig.tenant("mover", server="other", conditions=READY, phase="Active"))
    assert await rig.queued() == []
    rig.triggers.received(TENANT, rig.tenant("pinned", pin="other"), deleted=False)
    assert (tenant_key("homeless"), Lane.NEW) in await rig.queued(), "who is pinned and not placed held a place too"


async def test_a_move_that_ends_wakes_who_waits_for_the_place(rig: Rig) -> None:
    for obj in (rig.tenant("a", server="s", conditions=READY), rig.tenant("pinned", pin="s")):
        rig.triggers.received(TENANT, obj, deleted=False)
    move = {"sourceServer": "s", "phase": "Succeeded", "step": "RemoveSource"}
    rig.triggers.received(RESTORE, rig.restore("one", to="other", **move), deleted=False)
    await rig.queued()
    rig.triggers.written(RESTORE, rig.restore("one", to="other", **{**move, "step": "Done"}))
    assert (tenant_key("pinned"), Lane.NEW) in await rig.queued()


async def test_more_room_wakes_who_is_pinned_there_and_lives_elsewhere(rig: Rig) -> None:
    rig.triggers.received(TENANT, rig.tenant("would-come", pin="s", server="other"), deleted=False)
    rig.triggers.received(SERVER, rig.server(observedGeneration=1), deleted=False)
    await rig.queued()
    rig.triggers.received(SERVER, rig.server(generation=2, observedGeneration=1), deleted=False)
    assert (tenant_key("would-come"), Lane.NEW) in await rig.queued()


async def test_an_annotation_that_an_own_write_overtook_is_reconciled_though_no_event_tells_of_it(rig: Rig) -> None:
    """A list after a broken watch has the newest version only, which is the own write's."""
    rig.triggers.received(TENANT, rig.tenant(), deleted=False)
    await rig.queued()
    written = rig.tenant(phase="Active")
    written["metadata"]["annotations"] = {labels.CONFIRM_ERASURE: "a"}
    rig.triggers.written(TENANT, written)
    rig.triggers.received(TENANT, written, deleted=False)
    assert await rig.queued() == [(tenant_key(), Lane.URGENT)]
    own = rig.tenant(phase="Active")
    own["metadata"]["annotations"] = {labels.CONFIRM_ERASURE: "a", labels.PLACED_ON: "s"}
    rig.triggers.written(TENANT, own)
    assert await rig.queued() == [], "what the operator notes is no news"


async def test_a_dedicated_tenant_is_woken_by_the_server_of_its_name(rig: Rig) -> None:
    rig.triggers.received(TENANT, rig.tenant("same", server="same"), deleted=False)
    await rig.queued()
    rig.triggers.written(SERVER, rig.server("same", conditions=READY))
    assert (tenant_key("same"), Lane.NEW) in await rig.queued()


async def test_a_change_that_a_ready_server_has_taken_up_wakes_its_tenant(rig: Rig) -> None:
    """Ready stays True while the server grows in place: its tenant waits for the observed generation."""
    rig.triggers.received(TENANT, rig.tenant("same", server="same"), deleted=False)
    grown = rig.server("same", generation=2, conditions=READY, observedGeneration=1)
    rig.triggers.received(SERVER, grown, deleted=False)
    await rig.queued()
    rig.triggers.written(SERVER, rig.server("same", generation=2, conditions=READY, observedGeneration=2))
    assert await rig.queued() == [(tenant_key("same"), Lane.NEW)]


@pytest.mark.parametrize(
    ("metadata", "status", "lane"),
    [
        ({"deletionTimestamp": "2026-01-01T00:00:00Z"}, {}, Lane.URGENT),
        ({}, {}, Lane.NEW),
        ({"generation": 2}, {"observedGeneration": 1}, Lane.URGENT),
        ({"generation": 1}, {"observedGeneration": 1}, Lane.NEW),
        ({"generation": 1}, {"observedGeneration": 1, "conditions": READY}, Lane.RESYNC),
    ],
)
def test_lanes_after_a_start(metadata: Obj, status: Obj, lane: Lane) -> None:
    assert lane_of({"metadata": {"name": "a", "generation": 1, **metadata}, "status": status}) is lane


async def test_a_restores_progress_wakes_its_tenants_and_the_restores_that_wait(rig: Rig) -> None:
    for obj in (rig.tenant("a"), rig.tenant("b"), rig.tenant("other")):
        rig.triggers.received(TENANT, obj, deleted=False)
    for obj in (rig.restore("one", copy="b"), rig.restore("two"), rig.restore("else", "other")):
        rig.triggers.received(RESTORE, obj, deleted=False)
    await rig.queued()
    rig.triggers.written(RESTORE, rig.restore("one", copy="b", phase="Running", step="Maintenance"))
    woken = await rig.queued()
    assert sorted(key for key, _ in woken) == [("restore", "two"), tenant_key("a"), tenant_key("b")]
    rig.triggers.written(RESTORE, rig.restore("one", copy="b", phase="Running", step="Maintenance", rows=5))
    assert await rig.queued() == [], "a count is nothing that others wait for"
    rig.triggers.received(RESTORE, rig.restore("one", copy="b"), deleted=True)
    assert {key for key, _ in await rig.queued()} >= {("restore", "one"), ("restore", "two")}


async def test_a_job_for_several_tenants_leads_to_each_and_not_to_their_server(rig: Rig) -> None:
    job = _owned({labels.SERVER: "s"})
    job["metadata"]["annotations"] = {labels.FORGETS: '{"u-1": "a", "u-2": "b"}'}
    rig.triggers.owned(JOB, job, False)
    assert sorted(await rig.queued()) == [(tenant_key("a"), Lane.NEW), (tenant_key("b"), Lane.NEW)]
    job["metadata"]["annotations"] = {labels.FORGETS: "broken"}
    rig.triggers.owned(JOB, job, False)
    assert await rig.queued() == [(("server", "s"), Lane.NEW)]


async def test_a_job_of_a_restore_leads_to_it_and_a_finished_one_waits_for_nobody(rig: Rig) -> None:
    rig.triggers.owned(JOB, _owned({labels.TENANT: "a", labels.RESTORE: "one"}), False)
    assert sorted(await rig.queued()) == [(("restore", "one"), Lane.NEW), (tenant_key(), Lane.NEW)]
    assert lane_of(rig.restore("one", finishedAt="2026-01-01T00:00:00Z")) is Lane.RESYNC
