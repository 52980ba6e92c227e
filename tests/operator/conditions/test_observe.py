"""Live objects as conditions."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from elink_operator import observe

NOW = datetime(2026, 7, 2, 3, 0, tzinfo=UTC)
BORN = NOW - timedelta(days=30)


GAVE_UP = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}


def deployment(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "web", "namespace": "elink-srv-s", "generation": 2},
        "spec": {"replicas": 2},
        "status": {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, **status},
    }


@pytest.mark.parametrize(
    ("live", "status", "reason"),
    [
        (None, "False", "NotCreated"),
        (deployment(), "True", "PodsReady"),
        (deployment(readyReplicas=0), "False", "NoPodReady"),
        (deployment(readyReplicas=1), "True", "SomePodsReady"),
        (deployment(updatedReplicas=1), "True", "Updating"),
        (deployment(observedGeneration=1), "True", "Updating"),
        (deployment(updatedReplicas=1, replicas=3, conditions=[GAVE_UP]), "True", "UpdateStuck"),
        (deployment(readyReplicas=0, conditions=[GAVE_UP]), "False", "NoPodReady"),
        ({**deployment(replicas=0, readyReplicas=0), "spec": {"replicas": 0}}, "False", "ScaledToZero"),
        ({**deployment(updatedReplicas=0), "spec": {"replicas": 2, "paused": True}}, "True", "PodsReady"),
    ],
)
def test_workloads(live: dict[str, Any] | None, status: str, reason: str) -> None:
    found = observe.workload_condition("AppReady", live, "the app")
    assert (found.status, found.reason) == (status, reason)


def test_no_worker_is_a_way_to_hold_deliveries_back() -> None:
    none = {**deployment(replicas=0, readyReplicas=0), "spec": {"replicas": 0}}
    found = observe.workload_condition("WorkerReady", none, "the worker")
    assert (found.status, found.reason) == ("True", "ScaledToZero")


def test_a_quota_that_stops_pods_is_told() -> None:
    failure = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: server"}
    found = observe.workload_condition("AppReady", deployment(readyReplicas=0, conditions=[failure]), "the app")
    assert "exceeded quota: server" in found.message


def route(*conditions: dict[str, Any], generation: int = 2, name: str = "elink") -> dict[str, Any]:
    parent = {"parentRef": {"name": name, "namespace": "elink-gateway"}, "conditions": list(conditions)}
    return {"metadata": {"generation": generation}, "status": {"parents": [parent]}}


def says(type_: str, status: str = "True", generation: int = 2, **more: str) -> dict[str, Any]:
    return {"type": type_, "status": status, "observedGeneration": generation, **more}


@pytest.mark.parametrize(
    ("live", "status", "reason"),
    [
        (None, "False", "NotCreated"),
        ({"metadata": {"generation": 1}}, "False", "WaitingForGateway"),
        (route(says("Accepted"), says("ResolvedRefs")), "True", "Accepted"),
        (route(says("Accepted")), "False", "WaitingForGateway"),
        (route(says("Accepted", generation=1), says("ResolvedRefs")), "False", "WaitingForGateway"),
        (route(says("Accepted", "False", message="no"), says("ResolvedRefs")), "False", "RouteRefused"),
        (route(says("Accepted"), says("ResolvedRefs", "False", reason="BackendNotFound")), "False", "RouteRefused"),
        (route(says("Accepted"), says("ResolvedRefs"), name="other"), "False", "WaitingForGateway"),
    ],
)
def test_routes(live: dict[str, Any] | None, status: str, reason: str) -> None:
    found = observe.route_condition(live, "elink-gateway", "elink")
    assert (found.status, found.reason) == (status, reason)


def job(name: str, ended: str = "", created: str = "2026-07-01T17:00:00Z") -> dict[str, Any]:
    conditions = [{"type": ended, "status": "True", "message": "BackoffLimitExceeded"}] if ended else []
    return {
        "kind": "Job",
        "metadata": {"name": name, "creationTimestamp": created, "labels": {"elink-lc.com/component": "backup"}},
        "status": {"conditions": conditions, "completionTime": created},
    }


@pytest.mark.parametrize(("ended", "state"), [("", "running"), ("Complete", "succeeded"), ("Failed", "failed")])
def test_jobs(ended: str, state: str) -> None:
    assert observe.job_state(job("j", ended)) == state
    assert observe.job_state(None) == "missing"


@pytest.mark.parametrize(
    ("jobs", "newest", "born", "status", "reason"),
    [
        ([], None, NOW, "Unknown", "NoBackupYet"),
        ([], None, BORN, "False", "BackupOverdue"),
        ([], NOW - timedelta(hours=25), BORN, "True", "Recent"),
        ([], NOW - timedelta(hours=27), BORN, "False", "BackupOverdue"),
        ([job("a", "Complete")], NOW - timedelta(hours=1), BORN, "True", "Recent"),
        ([job("a", "Failed")], NOW - timedelta(hours=1), BORN, "False", "BackupFailed"),
        ([job("a", "Failed"), job("b", "Complete")], NOW, BORN, "True", "Recent"),
        ([job("a", "Failed"), job("b")], NOW, BORN, "False", "BackupFailed"),
    ],
)
def test_backups(jobs: list[dict[str, Any]], newest: datetime | None, born: datetime, status: str, reason: str) -> None:
    found = observe.backup_condition(jobs, None, newest=newest, created=born, now=NOW)
    assert (found.status, found.reason) == (status, reason)


def test_a_generation_from_the_future_is_no_proof_of_the_nights_until_then() -> None:
    ahead = NOW + timedelta(days=300)
    long_ago = NOW - timedelta(days=3)
    found = observe.backup_condition([], None, newest=ahead, created=long_ago, now=NOW)
    assert (found.status, found.reason) == ("False", "BackupOverdue")
    near = observe.backup_condition([], None, newest=NOW + timedelta(minutes=5), created=long_ago, now=NOW)
    assert near.reason == "Recent", "clocks differ a little"


def test_a_failed_backup_says_why() -> None:
    failure = observe.parse_backup_failure('{"result": "error", "reason": "StoreFull", "message": "x"}')
    assert failure is not None
    found = observe.backup_condition([job("a", "Failed")], None, newest=NOW, created=BORN, now=NOW, failure=failure)
    assert (found.status, found.reason) == ("False", "StoreFull")
    assert "enlarge the volume" in found.message
    fine = observe.backup_condition([job("a", "Complete")], None, newest=NOW, created=BORN, now=NOW, failure=failure)
    assert fine.status == "True"


@pytest.mark.parametrize(
    "said", ["", "[]", "{}", '{"reason": 1}', '{"reason": []}', '{"reason": "Evil\\nReason"}', "x"]
)
def test_a_job_cannot_choose_the_reason_of_a_condition(said: str) -> None:
    assert observe.parse_backup_failure(said) is None


def test_a_failed_backup_says_what_is_in_the_store_unless_it_could_not_look() -> None:
    said = '{"result": "error", "reason": "StoreFull", "generations": 6, "newest": "2026-07-01T17:00:03Z", "bytes": 9}'
    assert observe.parse_backup_summary(said) == observe.BackupSummary(6, "2026-07-01T17:00:03Z", 9)
    empty = '{"result": "error", "reason": "StoreFull", "generations": 0, "newest": null, "bytes": 0}'
    assert observe.parse_backup_summary(empty) == observe.BackupSummary(0, None, 0)
    assert observe.parse_backup_summary('{"result": "error", "reason": "StoreAway", "message": "x"}') is None


def test_the_time_of_the_proof_is_read() -> None:
    good = '{"generations": 1, "newest": "2026-07-01T17:00:03Z", "bytes": 1, "verifiedAt": "2026-07-01T17:00:09Z"}'
    found = observe.parse_backup_summary(good)
    assert found is not None
    assert found.verified_at == "2026-07-01T17:00:09Z"


def test_summary_of_a_backup_is_read_strictly() -> None:
    good = '{"result": "ok", "generations": 7, "newest": "2026-07-01T17:00:03Z", "bytes": 1234}'
    assert observe.parse_backup_summary(good) == observe.BackupSummary(7, "2026-07-01T17:00:03Z", 1234)
    for bad in (
        "",
        "{}",
        "ok",
        '{"generations": "x", "newest": "2026-07-01T17:00:03Z", "bytes": 1}',
        '{"newest": null}',
    ):
        assert observe.parse_backup_summary(bad) is None


def test_damaged_generations_are_named_and_only_names_are_taken() -> None:
    said = '{"generations": 1, "newest": "2026-07-01T17:00:03Z", "bytes": 9, "damaged": %s}'
    found = observe.parse_backup_summary(said % '["20260630T170000Z", "<b>", 7, null, "20260629T170000Z; rm"]')
    assert found is not None
    assert found.damaged == ("20260630T170000Z",)
    month = ", ".join(f'"202601{day:02}T000000Z"' for day in range(1, 31))
    many = observe.parse_backup_summary(said % f"[{month}]")
    assert many is not None
    assert (len(many.damaged), many.damaged[-1]) == (20, "20260130T000000Z")
    assert observe.parse_backup_summary(said % "7") is None
    condition = observe.backup_condition(
        [job("a", "Complete")], None, newest=NOW, created=BORN, now=NOW, damaged=found.damaged
    )
    assert (condition.status, condition.reason) == ("False", "GenerationsDamaged")
    assert "20260630T170000Z" in condition.message
    failed = observe.backup_condition([job("a", "Failed")], None, newest=NOW, created=BORN, now=NOW, damaged=["x"])
    assert failed.reason == "BackupFailed", "the newest backup first"


def test_only_the_message_of_a_container_that_succeeded_counts() -> None:
    def pod(name: str, code: int, message: str, at: str) -> dict[str, Any]:
        ended = {"exitCode": code, "message": message}
        return {
            "metadata": {"name": name, "creationTimestamp": at},
            "status": {"containerStatuses": [{"state": {"terminated": ended}}]},
        }

    pods = [pod("a", 0, "good", "2026-07-01T17:00:00Z"), pod("b", 1, "bad", "2026-07-01T18:00:00Z")]
    assert observe.termination_message(pods) == "good"
    assert observe.termination_message(pods[1:]) is None
    assert observe.termination_message(pods, failed=True) == "bad"


@pytest.mark.parametrize(
    ("answers", "status", "reason"),
    [
        ({"app": False, "database": False}, "True", "ProbeRefused"),
        ({"app": False, "database": True}, "False", "ReachableFromOutside"),
        ({"app": None, "database": True}, "False", "ReachableFromOutside"),
        ({"app": False, "database": None}, "Unknown", "ProbeUnavailable"),
        ({}, "Unknown", "ProbeUnavailable"),
    ],
)
def test_isolation(answers: dict[str, bool | None], status: str, reason: str) -> None:
    found = observe.isolation_condition(answers)
    assert (found.status, found.reason) == (status, reason)
