"""Erased tenants go out of a server's own backups together, each with evidence of its own; no failure is for ever."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from elink_operator import labels, naming
from elink_operator.api import ElinkTenant
from elink_operator.desired.server_backup import Leaver
from elink_operator.reconcile.forgetting import others_are_coming, waiting

from tests.operator.api.builders import tenant
from tests.operator.reconcile.harness import World, condition, is_ready, until
from tests.operator.reconcile.restoring import Script
from tests.operator.reconcile.test_erase import erase_now, records_of
from tests.support.standin import Obj, Standin

NOW = datetime(2026, 2, 1, 3, 0, tzinfo=UTC)


def erasing(name: str, *done: str, at: datetime = NOW, begun: bool = True, confirmed: bool = True) -> ElinkTenant:
    """A tenant that is being erased, with these steps done."""
    names = ("Database", "FilesAndBackups", "ServerBackups")
    steps = [{"name": n, "done": n in done, "at": at.isoformat()} for n in names]
    status = {"erasure": {"steps": steps}} if begun else {}
    marks = {labels.CONFIRM_ERASURE: name} if confirmed else {}
    return tenant(name, status=status, meta={"deletionTimestamp": "2026-02-01T02:00:00Z", "annotations": marks})


FILES = ("Database", "FilesAndBackups")


def test_who_is_gone_from_registry_and_journals_goes_along() -> None:
    first = Leaver("a", "uid-a", "uid-a")
    alive = tenant("z")
    residents = [erasing("a", *FILES), erasing("b", *FILES), erasing("c", "Database"),
                 erasing("d", *FILES, "ServerBackups"), erasing("e", begun=False), alive]  # fmt: skip
    assert waiting(first, residents) == [first, Leaver("b", "uid-b", "uid-b")]
    crowd = waiting(first, [erasing(f"t{n}", *FILES) for n in range(100)])
    assert len(crowd) == 40
    assert crowd[0] == first
    report = {"result": "ok", "generations": 14, "rewritten": 14, "left": ["20260131T170000Z"] * 14,
              "lines": {"0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f": 99999, **{f"{n:036}": 99999 for n in range(39)}},
              "looked_again": "2026-02-01T03:00:00+09:00"}  # fmt: skip
    assert len(json.dumps(report)) < 4000, "the report of the fullest Job fits a termination message"


def test_the_first_waits_a_minute_for_those_who_come_and_for_nobody_else() -> None:
    mine = erasing("a", *FILES)
    coming, done, not_begun = erasing("b", "Database"), erasing("c", *FILES), erasing("d", begun=False)
    held = erasing("e", begun=False, confirmed=False)
    for other in (coming, not_begun):
        assert others_are_coming(mine, [mine, other], NOW + timedelta(seconds=59))
        assert not others_are_coming(mine, [mine, other], NOW + timedelta(seconds=61))
    assert not others_are_coming(mine, [mine, done, held, tenant("z")], NOW)
    just_come = erasing("a", "Database")
    assert others_are_coming(just_come, [just_come, coming], NOW), "its own last step is in no status yet"
    assert not others_are_coming(just_come, [just_come, done], NOW)
    assert not others_are_coming(tenant("m"), [coming], NOW), "a move waits for nobody"


def forget_jobs(world: World, server: str) -> list[Obj]:
    path = f"/apis/batch/v1/namespaces/{naming.server_namespace(server)}/jobs"
    return [job for job in world.items(path) if job["metadata"]["name"].startswith("forget-")]


@pytest.mark.timeout(600)
async def test_a_job_that_failed_holds_all_of_its_tenants_for_two_minutes_only(world: World) -> None:
    server, names = world.unique("shared"), [world.unique("t") for _ in range(3)]
    world.server(server)
    for name in names:
        world.tenant(name)
    script = Script(world)

    async def broken(_: Standin, pod: Obj, __: Mapping[str, str]) -> tuple[int, str]:
        return 1, json.dumps({"result": "error", "reason": "StoreAway"})

    world.standin.program("backup", broken)
    async with world.operator() as op:
        await until(lambda: all(is_ready(world.et(n)) for n in names))
        uids = {name: (world.et(name) or {})["metadata"]["uid"] for name in names}
        for name in names:
            erase_now(world, name)
        await until(lambda: forget_jobs(world, server), what="a Job")
        held: dict[str, Any] = {}

        def all_held() -> bool:
            for job in forget_jobs(world, server):  # the Job controller would try for minutes
                path = f"/apis/batch/v1/namespaces/{naming.server_namespace(server)}/jobs/{job['metadata']['name']}"
                if job["spec"]["activeDeadlineSeconds"] != 1:
                    world.patch(path, {"spec": {"activeDeadlineSeconds": 1}}, "application/merge-patch+json")
            held.update({n: condition(world.et(n), "Ready") for n in names})
            return all(c.get("reason") == "EraseJobFailed" for c in held.values())

        await until(all_held, what="each says why it is held")
        assert all("replaced in two minutes" in c["message"] for c in held.values())
        failed = {job["metadata"]["uid"] for job in forget_jobs(world, server)}
        script.install()
        op.clock.offset = timedelta(minutes=3)
        for name in names:
            op.ctx.wake("tenant", name)
        await until(lambda: not any(world.et(n) for n in names), what="erased by other Jobs")
        assert failed.isdisjoint(job["metadata"]["uid"] for job in forget_jobs(world, server))
        for name in names:
            [record] = records_of(world, uids[name])
            [place] = [p for p in record["spec"]["stores"] if p["store"] == "ServerBackups"]
            assert place["removed"].startswith("2 rows and journal lines"), place
        asked = [json.loads(job["metadata"]["annotations"][labels.FORGETS]) for job in forget_jobs(world, server)]
        assert {uid: name for one in asked for uid, name in one.items()} == {uids[n]: n for n in names}
