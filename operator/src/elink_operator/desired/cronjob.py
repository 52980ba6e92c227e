"""The backup CronJob of a tenant, and what every one of backups has in common."""

from collections.abc import Mapping

from elink_operator import labels, naming
from elink_operator.desired import pod
from elink_operator.desired.app import SECRETS_MOUNT
from elink_operator.desired.backup_pod import DUMP, DUMP_SIZE, JOB_NAME, LOGIN_KEYS, PACKS_SIZE, repository_program
from elink_operator.desired.inputs import TenantInputs
from elink_operator.desired.pod import Obj
from elink_operator.desired.store import repository_of
from elink_operator.schedule import default_schedule
from elink_operator.settings import Settings

_LATE_SECONDS = 6 * 3600
"""A cluster that was down at night still makes the backup in the morning."""
_LONGEST_SECONDS = 6 * 3600
_KEEP_SECONDS = 24 * 3600


def build_backup(inputs: TenantInputs) -> Obj:
    """`backup-<id>`: one snapshot of the tenant's database and files in the tenant's own repository.

    The pod sees its own repository (writable) and its own files (read-only), and reaches PostgreSQL and the store only.
    """
    return nightly(
        naming.backup_cronjob(inputs.name),
        inputs.namespace,
        labels.tenant_labels(inputs.server, inputs.name, labels.BACKUP),
        schedule=inputs.tenant.spec.backup.schedule or default_schedule(inputs.name),
        settings=inputs.settings,
        spec=_pod_spec(inputs),
        suspend=inputs.maintenance,
    )


def nightly(
    name: str,
    namespace: str,
    marks: Mapping[str, str],
    *,
    schedule: str,
    settings: Settings,
    spec: Obj,
    suspend: bool = False,
) -> Obj:
    """A CronJob of backups; `marks` are the labels of everything in it, `spec` is the pod's."""
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(marks)},
        "spec": {
            "schedule": schedule,
            "timeZone": settings.time_zone,
            "concurrencyPolicy": "Forbid",
            "suspend": suspend,
            "startingDeadlineSeconds": _LATE_SECONDS,
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 1,
            "jobTemplate": {
                "metadata": {"labels": dict(marks)},
                "spec": {
                    "backoffLimit": 2,
                    "activeDeadlineSeconds": _LONGEST_SECONDS,
                    "ttlSecondsAfterFinished": _KEEP_SECONDS,
                    "template": {"metadata": {"labels": dict(marks)}, "spec": spec},
                },
            },
        },
    }


def _pod_spec(inputs: TenantInputs) -> Obj:
    settings = inputs.settings
    store = repository_of(inputs.name, settings)
    container = repository_program(
        settings,
        store,
        labels.BACKUP,
        ["elink-backup"],
        {
            "ELINK_TENANT_ID": naming.short_id(inputs.name),
            "ELINK_TENANT_UID": inputs.tenant.metadata.uid,
            "ELINK_SERVER": inputs.server,
            "ELINK_GENERATIONS": str(max(inputs.tenant.spec.backup.generations, settings.backup_generations)),
            "ELINK_REVISION": inputs.schema,
            **inputs.access.endpoint.client(SECRETS_MOUNT),
        },
        [
            {
                "name": naming.FILES_VOLUME,
                "mountPath": "/snapshot/files",
                "subPath": naming.tenant_files_subpath(inputs.name),
                "readOnly": True,
            },
            DUMP,
        ],
        secrets="database",
    )
    container["env"] = [*container["env"], JOB_NAME]
    return {
        **pod.pod_base(settings, naming.SERVICE_ACCOUNT, inputs.region),
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": [
            *store.volumes,
            pod.claim(naming.FILES_VOLUME),
            pod.scratch("dump", size=DUMP_SIZE),
            pod.scratch(size=PACKS_SIZE),
            pod.secret_files(
                "database",
                {naming.tenant_secret(inputs.name): LOGIN_KEYS, **inputs.access.endpoint.trusted, **store.secrets},
            ),
        ],
    }
