"""Backups of what belongs to a server and to no tenant: registry and journals (docs/adr/0022)."""

from elink_operator import labels, naming
from elink_operator.api import ElinkServer
from elink_operator.desired import app, pod
from elink_operator.desired.cronjob import JOB_NAME, LOGIN_KEYS, PACKS_SIZE, nightly
from elink_operator.desired.inputs import ServerInputs
from elink_operator.desired.job import one_shot
from elink_operator.desired.pod import Obj
from elink_operator.desired.secret import TENANT_UID
from elink_operator.desired.store import repository_of_server
from elink_operator.schedule import default_schedule
from elink_operator.settings import Settings

_COPY_SIZE = "1Gi"
"""Rows of 2000 tenants take some MiB; journals are emptied when their mails are settled."""
_JOURNALS: Obj = {
    "name": naming.FILES_VOLUME,
    "mountPath": "/journals",
    "subPath": naming.JOURNALS_FOLDER,
    "readOnly": True,
}
_PATIENCE_SECONDS = 3600
"""Many tenants may be erased at once, and each waits for the others."""


def build_server_backup(inputs: ServerInputs) -> Obj:
    """`server-backup`: one snapshot a night, in the server's own repository.

    The pod sees that repository and the journals (read-only), and logs in to the registry as a role that reads a few
    columns and nothing else.
    """
    settings = inputs.settings
    container = _container(settings, inputs.server)
    container["env"] = [*container["env"], JOB_NAME]
    container["volumeMounts"] = [*container["volumeMounts"], _JOURNALS]
    spec = _pod_spec(settings, inputs.name, inputs.region, container)
    spec["volumes"] = [*spec["volumes"], pod.claim(naming.FILES_VOLUME)]
    return nightly(
        naming.SERVER_BACKUP,
        inputs.namespace,
        labels.server_labels(inputs.name, labels.BACKUP),
        schedule=default_schedule(f"server {inputs.name}"),
        settings=settings,
        spec=spec,
    )


def build_forget_job(settings: Settings, server: ElinkServer, region: str, tenant: str, uid: str) -> Obj:
    """Takes an erased tenant out of every generation and looks again; the report is the termination message.

    The pod has no label of the tenant: it is none of the tenant's own backups, whose end an erasure waits for.
    """
    container = _container(settings, server)
    told = {"ELINK_TENANT": tenant, "ELINK_TENANT_UID": uid, "ELINK_PATIENCE": str(_PATIENCE_SECONDS)}
    container["command"] = [*container["command"], "forget"]
    container["env"] = [*container["env"], *pod.env(told)]
    job = one_shot(
        naming.forget_job(tenant),
        naming.server_namespace(server.name),
        labels.tenant_labels(server.name, tenant, labels.ERASE),
        _pod_spec(settings, server.name, region, container),
        backoff_limit=6,
        deadline_seconds=6 * 3600,
        pod_labels=labels.server_labels(server.name, labels.BACKUP),
    )
    job["metadata"]["annotations"] = {TENANT_UID: uid}
    return job


def _container(settings: Settings, server: ElinkServer) -> Obj:
    store = repository_of_server(server.name, settings)
    return {
        "name": labels.BACKUP,
        "image": settings.backup_image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["elink-server-backup"],
        "env": pod.env(
            {
                "ELINK_SERVER": server.name,
                "ELINK_SERVER_UID": server.metadata.uid,
                "ELINK_GENERATIONS": str(settings.backup_generations),
                "ELINK_SECRET_DIR": app.SECRETS_MOUNT,
                **store.env,
            }
        ),
        "resources": pod.fixed_resources("50m", "96Mi", "512Mi"),
        "securityContext": pod.container_security(),
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            *store.mounts,
            {"name": "snapshot", "mountPath": "/snapshot"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path inside the container
            {"name": "secrets", "mountPath": app.SECRETS_MOUNT, "readOnly": True},
        ],
    }


def _pod_spec(settings: Settings, server: str, region: str, container: Obj) -> Obj:
    store = repository_of_server(server, settings)
    return {
        **pod.pod_base(settings, naming.SERVICE_ACCOUNT, region),
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": [
            *store.volumes,
            pod.scratch("snapshot", size=_COPY_SIZE),
            pod.scratch(size=PACKS_SIZE),
            pod.secret_files("secrets", {naming.SERVER_BACKUP: LOGIN_KEYS, **store.secrets}),
        ],
    }
