"""One-shot Jobs: migration of a server's databases, erasure of a tenant's files."""

from elink_operator import labels, naming
from elink_operator.desired import app, pod
from elink_operator.desired.backup_pod import program
from elink_operator.desired.inputs import ServerInputs
from elink_operator.desired.pod import Obj
from elink_operator.desired.secret import TENANT_UID
from elink_operator.settings import Settings

_KEEP_SECONDS = 3600
"""A finished Job is kept for an hour, so that a human can read its log."""


def build_migrate_job(inputs: ServerInputs, version: str) -> Obj:
    """Upgrades the template and every tenant database to `version`; safe to run again after a kill."""
    name = naming.migrate_job(version, inputs.settings.template_revision)
    target = ServerInputs(
        server=inputs.server,
        settings=inputs.settings,
        version=version,
        endpoint=inputs.endpoint,
        postgres_image=inputs.postgres_image,
    )
    container = app.app_container(target, labels.MIGRATE, pod.fixed_resources("100m", "192Mi", "512Mi"))
    spec = app.app_pod_spec(target, container)
    spec["restartPolicy"] = "Never"
    return one_shot(
        name,
        inputs.namespace,
        labels.server_labels(inputs.name, labels.MIGRATE),
        spec,
        backoff_limit=4,
        deadline_seconds=6 * 3600,
    )


def build_erase_job(
    settings: Settings, server: str, region: str, tenant: str, uid: str, *, backups: bool = True
) -> Obj:
    """Removes the tenant's journal lines, directory and backups and looks again; the reports are termination messages.

    `backups`: whether the server has a volume for them; a bucket is erased by the operator itself.
    The Job sees the parents of both folders, because a folder cannot be removed from inside; it is given the exact
    ID and never a pattern. `uid` keeps a Job of an earlier tenant of the same name from counting as evidence.
    """
    told = {"ELINK_TENANT_ID": naming.short_id(tenant), **({} if backups else {"ELINK_STORE": ""})}
    files: Obj = {"name": naming.FILES_VOLUME, "mountPath": "/files", "subPath": naming.TENANTS_FOLDER}
    store: list[Obj] = [{"name": naming.BACKUPS_VOLUME, "mountPath": naming.BACKUP_MOUNT}] if backups else []
    container = program(settings, labels.ERASE, ["elink-erase"], told, [files, *store])
    lines: Obj = {"name": naming.FILES_VOLUME, "mountPath": "/journals", "subPath": naming.JOURNALS_FOLDER}
    journals = program(settings, "journals", ["elink-erase-journals"], {"ELINK_TENANT": tenant}, [lines])
    spec: Obj = {
        **pod.pod_base(settings, naming.SERVICE_ACCOUNT, region),
        "restartPolicy": "Never",
        "initContainers": [journals],
        "containers": [container],
        "volumes": [pod.claim(naming.FILES_VOLUME), *([pod.claim(naming.BACKUPS_VOLUME)] if backups else [])],
    }
    job = one_shot(
        naming.erase_job(tenant),
        naming.server_namespace(server),
        labels.tenant_labels(server, tenant, labels.ERASE),
        spec,
        backoff_limit=6,
        deadline_seconds=6 * 3600,
    )
    job["metadata"]["annotations"] = {TENANT_UID: uid}
    return job


def one_shot(
    name: str,
    namespace: str,
    job_labels: dict[str, str],
    spec: Obj,
    *,
    backoff_limit: int,
    deadline_seconds: int,
    pod_labels: dict[str, str] | None = None,
) -> Obj:
    """A Job that is kept for an hour; `pod_labels`: where they differ from the Job's."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace, "labels": job_labels},
        "spec": {
            "backoffLimit": backoff_limit,
            "activeDeadlineSeconds": deadline_seconds,
            "ttlSecondsAfterFinished": _KEEP_SECONDS,
            "template": {"metadata": {"labels": pod_labels or job_labels}, "spec": spec},
        },
    }
