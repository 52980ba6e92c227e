"""What the live objects say, as conditions. Pure: objects in, conditions out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import orjson

from elink_operator import conditions, labels
from elink_operator.conditions import Condition

Obj = Mapping[str, Any]

BACKUP_OVERDUE_AFTER = timedelta(hours=26)
"""A daily backup plus two hours in which it may run."""

JobState = Literal["missing", "running", "succeeded", "failed"]


@dataclass(frozen=True)
class Replicas:
    """Pods of a Deployment: wanted, existing, ready, and whether the newest template runs everywhere."""

    wanted: int
    existing: int
    ready: int
    current: bool


def replicas(deployment: Obj | None) -> Replicas:
    """Counts of a Deployment; a paused one is current when its pods are (docs/adr/0004)."""
    if deployment is None:
        return Replicas(0, 0, 0, current=False)
    spec, status = deployment["spec"], deployment.get("status", {})
    wanted = spec.get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    existing = status.get("replicas", 0)
    rolled = spec.get("paused", False) or status.get("updatedReplicas", 0) == wanted
    return Replicas(wanted, existing, status.get("readyReplicas", 0), seen and rolled and existing == wanted)


def workload_condition(type_: str, deployment: Obj | None, what: str) -> Condition:
    """AppReady or WorkerReady from a Deployment."""
    counted = replicas(deployment)
    if deployment is None:
        return conditions.false(type_, "NotCreated", f"{what} waits for the database to be ready")
    if counted.wanted == 0:
        return conditions.true(type_, "ScaledToZero", f"{what} is scaled to zero")
    if counted.ready == 0:
        return conditions.false(type_, "NoPodReady", _why_not(deployment, what))
    if not counted.current:
        return conditions.true(type_, "Updating", f"{what} serves while its pods are being replaced")
    if counted.ready < counted.wanted:
        return conditions.true(type_, "SomePodsReady", f"{what} serves with fewer pods than declared")
    return conditions.true(type_, "PodsReady", f"{what} runs as declared")


def _why_not(deployment: Obj, what: str) -> str:
    stuck = conditions.find(deployment.get("status", {}).get("conditions", ()), "ReplicaFailure")
    if stuck is not None and stuck.get("status") == "True":
        return f"no pod of {what} can be made: {stuck.get('message', '')}"
    return f"no pod of {what} is ready; see 'kubectl get pods -n {deployment['metadata'].get('namespace', '')}'"


def postgres_is_ready(statefulset: Obj | None) -> bool:
    """The one pod of the StatefulSet answers."""
    return statefulset is not None and statefulset.get("status", {}).get("readyReplicas", 0) >= 1


def job_state(job: Obj | None) -> JobState:
    """Where a Job stands."""
    if job is None:
        return "missing"
    listed = job.get("status", {}).get("conditions", ())
    if conditions.is_true(listed, "Complete"):
        return "succeeded"
    return "failed" if conditions.is_true(listed, "Failed") else "running"


def job_failure(job: Obj) -> str:
    """Why a Job failed, in the words of its controller."""
    failed = conditions.find(job.get("status", {}).get("conditions", ()), "Failed")
    return str(failed.get("message") or failed.get("reason") or "") if failed else ""


def route_condition(route: Obj | None, gateway_namespace: str, gateway: str) -> Condition:
    """RouteReady: the Gateway's controller has accepted the newest version of the route."""
    type_ = conditions.ROUTE_READY
    if route is None:
        return conditions.false(type_, "NotCreated", "the route is not written yet")
    parents = [
        p
        for p in route.get("status", {}).get("parents", ())
        if p.get("parentRef", {}).get("name") == gateway
        and p.get("parentRef", {}).get("namespace", gateway_namespace) == gateway_namespace
    ]
    if not parents:
        return conditions.false(
            type_,
            "WaitingForGateway",
            f"Gateway {gateway_namespace}/{gateway} has not answered yet; is its controller running?",
        )
    generation = route["metadata"].get("generation", 0)
    for name in ("Accepted", "ResolvedRefs"):
        found = conditions.find(parents[0].get("conditions", ()), name)
        if found is None or found.get("observedGeneration", generation) < generation:
            return conditions.false(type_, "WaitingForGateway", "the Gateway has not taken the newest route yet")
        if found.get("status") != "True":
            detail = found.get("message") or found.get("reason")
            return conditions.false(type_, "RouteRefused", f"the Gateway refuses the route: {detail}")
    return conditions.true(type_, "Accepted", "the Gateway serves the host")


@dataclass(frozen=True)
class BackupSummary:
    """What a backup Job reported: complete generations present, start of the newest, bytes of all.

    `verified_at`: when the newest was read back out of the store.
    """

    generations: int
    newest: str | None
    bytes: int
    verified_at: str | None = None


@dataclass(frozen=True)
class BackupFailure:
    """Why a backup Job failed, as a condition's reason and what to do."""

    reason: str
    message: str


@dataclass(frozen=True)
class BackupReport:
    """What a failed backup Job said: why, and what is in the store (None: it could not look)."""

    why: BackupFailure
    store: BackupSummary | None


_BACKUP_ADVICE: Mapping[str, str] = {
    "StoreFull": "the backup store is full: enlarge the volume `backups` of the server or the object store",
    "StoreAway": "the backup store cannot be reached: look at the volume `backups` of the server or the object store",
    "StoreReadOnly": "the backup store is read-only: look at the volume `backups` of the server or the object store",
    "StoreTooSlow": "the backup store is too slow: a command on it made no progress for minutes",
    "StoreDamaged": "the backup store is damaged: what was written cannot be read back. Restore the store, and keep it",
    "WrongLogin": "the object store refuses the tenant's log-in or its bucket: look at the Secret `backup-store-...`",
    "WrongKey": "the key does not open the repository: bring back the Secret with the key of the backups",
    "ScratchFull": "the node has no room for the dump",
    "DatabaseAway": "the database cannot be reached from the backup Job",
    "FilesUnreadable": "files in the tenant's directory cannot be read",
    "StillRunning": "another backup of the tenant did not end",
}


def parse_backup_failure(text: str) -> BackupFailure | None:
    """The Job's termination message as a known failure, or None when it is none."""
    try:
        reason = orjson.loads(text)["reason"]
        return BackupFailure(reason, _BACKUP_ADVICE[reason])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None


def parse_backup_summary(text: str) -> BackupSummary | None:
    """The Job's termination message as a summary, or None when it is none; a failed Job may have one too."""
    try:
        report = orjson.loads(text)
        newest = None if report["newest"] is None else _iso(str(report["newest"]))
        verified = report.get("verifiedAt")
        return BackupSummary(
            int(report["generations"]), newest, int(report["bytes"]), _iso(str(verified)) if verified else None
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None


def _iso(text: str) -> str:
    """RFC 3339 from RFC 3339 or from the folder name `yyyymmddThhmmssZ`."""
    compact = len(text) == len("20260101T000000Z") and "-" not in text
    moment = datetime.strptime(text, "%Y%m%dT%H%M%S%z") if compact else conditions.parse_timestamp(text)
    return conditions.timestamp(moment)


def termination_message(pods: Sequence[Obj], *, init: bool = False, failed: bool = False) -> str | None:
    """The message of a container (or init container) that ended with success (or that `failed`), of the newest pod."""
    field = "initContainerStatuses" if init else "containerStatuses"
    for pod in sorted(pods, key=lambda p: str(p["metadata"].get("creationTimestamp", "")), reverse=True):
        for container in pod.get("status", {}).get(field, ()):
            ended = container.get("state", {}).get("terminated")
            if ended and (ended.get("exitCode") != 0) is failed and ended.get("message"):
                return str(ended["message"])
    return None


def backup_jobs(owned: Sequence[Obj]) -> list[Obj]:
    """The backup Jobs among a tenant's objects, oldest first."""
    jobs = [o for o in owned if o["kind"] == "Job" and _component(o) == labels.BACKUP]
    return sorted(jobs, key=lambda j: str(j["metadata"].get("creationTimestamp", "")))


def newest_success(jobs: Sequence[Obj]) -> Obj | None:
    """The last backup Job that succeeded."""
    done = [j for j in jobs if job_state(j) == "succeeded"]
    return max(done, key=lambda j: str(j.get("status", {}).get("completionTime", "")), default=None)


def backup_condition(
    jobs: Sequence[Obj],
    cronjob: Obj | None,
    *,
    newest: datetime | None,
    created: datetime,
    now: datetime,
    failure: BackupFailure | None = None,
) -> Condition:
    """BackupHealthy; `newest` is the newest generation known to be in the store, `created` the tenant's birth.

    `failure` is what the last Job said when it failed.
    """
    type_ = conditions.BACKUP_HEALTHY
    finished = [j for j in jobs if job_state(j) in ("succeeded", "failed")]
    if finished and job_state(finished[-1]) == "failed":
        why = failure.message if failure else job_failure(finished[-1])
        return conditions.false(
            type_,
            failure.reason if failure else "BackupFailed",
            f"the last backup failed ({why}); it runs again at the next scheduled time, "
            "or at once with 'kubectl create job --from=cronjob/...'",
        )
    times = [newest] if newest else []
    if cronjob is not None and cronjob.get("status", {}).get("lastSuccessfulTime"):
        times.append(conditions.parse_timestamp(cronjob["status"]["lastSuccessfulTime"]))
    if now - max(times, default=created) > BACKUP_OVERDUE_AFTER:
        return conditions.false(
            type_, "BackupOverdue", "no backup has succeeded for more than a day; see the events of the CronJob"
        )
    if not times:
        return conditions.unknown(type_, "NoBackupYet", "the first backup runs in the coming night (Japan time)")
    return conditions.true(type_, "Recent", "the last backup succeeded")


def isolation_condition(answers: Mapping[str, bool | None]) -> Condition:
    """Isolated, from what the probe could reach: target name -> True, False or None (nobody knows)."""
    type_ = conditions.ISOLATED
    open_targets = sorted(name for name, reached in answers.items() if reached)
    if open_targets:
        return conditions.false(
            type_,
            "ReachableFromOutside",
            f"a pod of another namespace connects to {', '.join(open_targets)}: look for a NetworkPolicy that allows "
            "it, and whether the cluster's network plugin enforces policies at all",
        )
    if not answers or any(reached is None for reached in answers.values()):
        return conditions.unknown(
            type_, "ProbeUnavailable", "the isolation probe gave no usable answer; it is asked again in a minute"
        )
    return conditions.true(type_, "ProbeRefused", "a pod of another namespace reaches neither app nor database")


def _component(obj: Obj) -> str:
    return str(obj["metadata"].get("labels", {}).get(labels.COMPONENT, ""))
