"""What the live objects say, as conditions. Pure: objects in, conditions out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import orjson

from elink_operator import conditions, labels, naming
from elink_operator.api import ElinkTenant
from elink_operator.api.meta import find_condition
from elink_operator.conditions import Condition

Obj = Mapping[str, Any]

BACKUP_OVERDUE_AFTER = timedelta(hours=26)
"""A daily backup plus two hours in which it may run."""
_MOST_DAMAGED = 20
CLOCKS_DIFFER = timedelta(hours=1)
"""So far ahead of ours the clock of a node may be before what it dates is no proof."""

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
    if counted.wanted == 0 and type_ == conditions.APP_READY:
        return conditions.false(type_, "ScaledToZero", f"{what} has no pods: set spec.app.replicas")
    if counted.wanted == 0:
        return conditions.true(type_, "ScaledToZero", f"{what} is scaled to zero")
    if counted.ready == 0:
        return conditions.false(type_, "NoPodReady", _why_not(deployment, what))
    if _gave_up(deployment):
        return conditions.true(
            type_,
            conditions.UPDATE_STUCK,
            f"{what} serves with its old pods, because the new ones do not become ready; {_look_at(deployment, what)}",
        )
    if not counted.current:
        return conditions.true(type_, "Updating", f"{what} serves while its pods are being replaced")
    if counted.ready < counted.wanted:
        return conditions.true(type_, "SomePodsReady", f"{what} serves with fewer pods than declared")
    return conditions.true(type_, "PodsReady", f"{what} runs as declared")


def _gave_up(deployment: Obj) -> bool:
    """A rolling update made no progress for as long as the Deployment allows."""
    found = conditions.find(deployment.get("status", {}).get("conditions", ()), "Progressing")
    return found is not None and found.get("status") == "False"


def _why_not(deployment: Obj, what: str) -> str:
    return f"no pod of {what} is ready; {_look_at(deployment, what)}"


def _look_at(deployment: Obj, what: str) -> str:
    failure = conditions.find(deployment.get("status", {}).get("conditions", ()), "ReplicaFailure")
    if failure is not None and failure.get("status") == "True":
        return f"no more pod of {what} can be made: {failure.get('message', '')}"
    return f"see 'kubectl get pods -n {deployment['metadata'].get('namespace', '')}'"


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

    `verified_at`: when the newest was read back out of the store. `made`: start of the one that the Job made itself.
    `damaged`: names of those that cannot come back and do not count.
    """

    generations: int
    newest: str | None
    bytes: int
    verified_at: str | None = None
    made: str | None = None
    damaged: tuple[str, ...] = ()


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
    "DatabaseTooNew": "PostgreSQL is newer than the pg_dump of the backup image, which reads up to its own version "
    "(docs/external-postgresql.md)",
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
            int(report["generations"]),
            newest,
            int(report["bytes"]),
            _iso(str(verified)) if verified else None,
            _iso(str(report["made"])) if report.get("made") else None,
            tuple(str(name) for name in report.get("damaged") or () if naming.is_generation(str(name)))[
                -_MOST_DAMAGED:
            ],
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
    damaged: Sequence[str] = (),
) -> Condition:
    """BackupHealthy; `newest` is the newest generation known to be in the store, `created` the tenant's birth.

    `failure` is what the last Job said when it failed, `damaged` names generations that cannot come back.
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
    # A node whose clock ran ahead dates a generation in the future: that is no proof of the nights until then.
    past = [time for time in times if time <= now + CLOCKS_DIFFER]
    if now - max(past, default=created) > BACKUP_OVERDUE_AFTER:
        return conditions.false(
            type_, "BackupOverdue", "no backup has succeeded for more than a day; see the events of the CronJob"
        )
    if not times:
        return conditions.unknown(type_, "NoBackupYet", "the first backup runs in the coming night (Japan time)")
    if damaged:
        return conditions.false(
            type_,
            "GenerationsDamaged",
            f"the last backup succeeded, but the store has lost something of older ones, which cannot come back: "
            f"{', '.join(damaged)}. They go when enough newer ones are there; look at the store, it may lose more",
        )
    return conditions.true(type_, "Recent", "the last backup succeeded")


def harms_neighbours(tenant: ElinkTenant) -> bool:
    """Whether a tenant's erasure found that others lack something, and no person has looked yet.

    Ready alone does not say it: its reason changes when the next look fails, and with a confirmation that is withdrawn.
    """
    erasure, ready = tenant.status.erasure, find_condition(tenant.status.conditions, conditions.READY)
    found = ready is not None and ready.reason == conditions.NEIGHBOURS_HARMED
    return tenant.deleting and (found or (erasure is not None and bool(erasure.harm)))


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
