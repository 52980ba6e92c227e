"""When the worker's tasks run: woken or looked at, once at a time, and only for tenants that are Active."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from elink_app.clock import utc_now
from elink_app.ops.servers import Stop
from elink_app.registry.directory import TenantDirectory
from elink_app.registry.tenant import Tenant, TenantState
from elink_app.settings import Settings
from elink_app.telemetry.metrics import Metrics
from elink_app.worker.tasks import TaskRunner

from tests.tenant_app.registry.test_tenant import ROW, parse_tenant
from tests.tenant_app.support import eventually

A = parse_tenant(ROW | {"name": "a", "host": "a.example"})
B = parse_tenant(ROW | {"name": "b", "host": "b.example"})


class Hints:
    """Stands for the registry's wake-ups."""

    def __init__(self) -> None:
        self.names: list[str] = []

    async def due(self, _now: object) -> list[str]:
        names, self.names = self.names, []
        return names


class Task:
    """Counts its runs; `more` says whether there is more to do."""

    name = "test"

    def __init__(self, more: Callable[[Tenant], bool] = lambda _: False, pause: float = 0.0) -> None:
        self.runs: list[str] = []
        self.seen: list[Tenant] = []
        self.at_once = 0
        self.most_at_once = 0
        self._more = more
        self._pause = pause

    async def run(self, tenant: Tenant, _stop: Stop) -> bool:
        self.runs.append(tenant.name)
        self.seen.append(tenant)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self._pause)
        self.at_once -= 1
        return self._more(tenant)


class Rig:
    """A runner in the background."""

    def __init__(self, task: Task, **settings: float) -> None:
        self.directory = TenantDirectory()
        self.directory.replace_all([A, B])
        self.hints = Hints()
        self.metrics = Metrics()
        made = Settings(task_look_seconds=settings.get("look", 3600), task_slots=int(settings.get("slots", 16)))
        self.runner = TaskRunner(made, self.directory, self.hints, [task], self.metrics, utc_now)  # type: ignore[arg-type]
        self.stop = Stop()
        self.running = asyncio.create_task(self.runner.run(self.stop))

    async def end(self) -> None:
        self.stop.now()
        await asyncio.wait_for(self.running, 60)


async def test_every_tenant_is_looked_at_once_and_the_woken_again() -> None:
    task = Task()
    rig = Rig(task)
    await eventually(lambda: sorted(task.runs) == ["a", "b"])
    rig.hints.names = ["b", "nobody"]
    await eventually(lambda: sorted(task.runs) == ["a", "b", "b"])
    await rig.end()
    assert rig.runner.is_alive()


async def test_looks_come_again_without_hints() -> None:
    task = Task()
    rig = Rig(task, look=0.6)
    await eventually(lambda: task.runs.count("a") >= 3)
    await rig.end()


async def test_a_tenant_never_runs_twice_at_once_and_loses_no_hint() -> None:
    task = Task(pause=0.8)
    rig = Rig(task)
    rig.directory.replace_one("b", None)
    await eventually(lambda: task.runs == ["a"])
    rig.hints.names = ["a"]
    await eventually(lambda: task.runs == ["a", "a"])
    assert task.most_at_once == 1
    await rig.end()


@pytest.mark.parametrize("state", [*(state for state in TenantState if state is not TenantState.ACTIVE), None])
async def test_work_of_a_tenant_ends_when_it_is_no_longer_active(state: TenantState | None) -> None:
    task = Task(more=lambda _: True, pause=0.02)
    rig = Rig(task)
    await eventually(lambda: task.runs.count("a") > 3 and task.runs.count("b") > 3)
    rig.directory.replace_one("a", replace(A, state=state) if state is not None else None)
    rig.hints.names = ["a"]
    await asyncio.sleep(0.1)
    count = task.runs.count("a")
    await asyncio.sleep(0.8)
    assert task.runs.count("a") == count
    await rig.end()


async def test_a_changed_row_counts_at_the_next_step() -> None:
    task = Task(more=lambda _: True, pause=0.02)
    rig = Rig(task)
    await eventually(lambda: "a" in task.runs)
    rig.directory.replace_one("a", replace(A, display_name="renamed"))
    await eventually(lambda: any(tenant.display_name == "renamed" for tenant in task.seen))
    await rig.end()


async def test_a_failure_is_counted_and_holds_up_nobody() -> None:
    def broken(tenant: Tenant) -> bool:
        if tenant.name == "a":
            raise RuntimeError("broken")
        return False

    task = Task(more=broken)
    rig = Rig(task, slots=1)
    counts = rig.metrics.worker_tasks
    await eventually(lambda: counts.labels("test", "failure")._value.get() == 1)
    await eventually(lambda: counts.labels("test", "success")._value.get() == 1)
    await rig.end()
