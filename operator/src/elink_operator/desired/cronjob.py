"""The backup CronJob of a tenant."""

from elink_operator import labels, naming
from elink_operator.desired import app, pod
from elink_operator.desired.inputs import TenantInputs
from elink_operator.desired.pod import Obj
from elink_operator.schedule import default_schedule

_LATE_SECONDS = 6 * 3600
"""A cluster that was down at night still makes the backup in the morning."""
_LONGEST_SECONDS = 6 * 3600
_KEEP_SECONDS = 24 * 3600


def build_backup(inputs: TenantInputs) -> Obj:
    """`backup-<id>`: dumps the tenant's database and files into its own folder of the store.

    The pod sees its own backup folder (writable) and its own files (read-only), and reaches PostgreSQL only.
    """
    job_labels = labels.tenant_labels(inputs.server, inputs.name, labels.BACKUP)
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {
            "name": naming.backup_cronjob(inputs.name),
            "namespace": inputs.namespace,
            "labels": job_labels,
        },
        "spec": {
            "schedule": inputs.tenant.spec.backup.schedule or default_schedule(inputs.name),
            "timeZone": inputs.settings.time_zone,
            "concurrencyPolicy": "Forbid",
            "suspend": False,
            "startingDeadlineSeconds": _LATE_SECONDS,
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 1,
            "jobTemplate": {
                "metadata": {"labels": job_labels},
                "spec": {
                    "backoffLimit": 2,
                    "activeDeadlineSeconds": _LONGEST_SECONDS,
                    "ttlSecondsAfterFinished": _KEEP_SECONDS,
                    "template": {"metadata": {"labels": job_labels}, "spec": _pod_spec(inputs)},
                },
            },
        },
    }


def _pod_spec(inputs: TenantInputs) -> Obj:
    settings = inputs.settings
    container: Obj = {
        "name": labels.BACKUP,
        "image": settings.backup_image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["elink-backup"],
        "env": pod.env(
            {
                "ELINK_TENANT_ID": naming.short_id(inputs.name),
                "ELINK_GENERATIONS": str(max(inputs.tenant.spec.backup.generations, settings.backup_generations)),
                "ELINK_SECRET_DIR": app.SECRETS_MOUNT,
            }
        ),
        "resources": pod.fixed_resources("50m", "64Mi", "256Mi"),
        "securityContext": pod.container_security(),
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {
                "name": naming.BACKUPS_VOLUME,
                "mountPath": naming.BACKUP_MOUNT,
                "subPath": naming.tenant_backup_folder(inputs.name),
            },
            {
                "name": naming.FILES_VOLUME,
                "mountPath": "/files",
                "subPath": naming.tenant_files_subpath(inputs.name),
                "readOnly": True,
            },
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path inside the container
            {"name": "database", "mountPath": app.SECRETS_MOUNT, "readOnly": True},
        ],
    }
    keys = ("host", "port", "database", "username", "password")
    return {
        **pod.pod_base(settings, naming.SERVICE_ACCOUNT, inputs.region),
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": [
            pod.claim(naming.BACKUPS_VOLUME),
            pod.claim(naming.FILES_VOLUME),
            pod.scratch(),
            pod.secret_file("database", naming.tenant_secret(inputs.name), *keys),
        ],
    }
