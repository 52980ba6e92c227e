"""Backups of what belongs to a server and to no tenant: registry and journals (docs/adr/0022)."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from elink_operator import labels, naming
from elink_operator.api import ElinkServer
from elink_operator.desired import pod
from elink_operator.desired.app import SECRETS_MOUNT
from elink_operator.desired.backup_pod import JOB_NAME, LOGIN_KEYS, PACKS_SIZE, repository_program
from elink_operator.desired.cronjob import nightly
from elink_operator.desired.inputs import Endpoint, ServerInputs
from elink_operator.desired.job import one_shot
from elink_operator.desired.pod import Obj
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
"""A backup of the server may be at work."""


def build_server_backup(inputs: ServerInputs) -> Obj:
    """`server-backup`: one snapshot a night, in the server's own repository.

    The pod sees that repository and the journals (read-only), and logs in to the registry as a role that reads a few
    columns and nothing else.
    """
    settings = inputs.settings
    container = _container(settings, inputs.server, inputs.endpoint)
    container["env"] = [*container["env"], JOB_NAME]
    container["volumeMounts"] = [*container["volumeMounts"], _JOURNALS]
    spec = _pod_spec(settings, inputs.name, inputs.region, inputs.endpoint, container)
    spec["volumes"] = [*spec["volumes"], pod.claim(naming.FILES_VOLUME)]
    return nightly(
        naming.SERVER_BACKUP,
        inputs.namespace,
        labels.server_labels(inputs.name, labels.BACKUP),
        schedule=default_schedule(f"server {inputs.name}"),
        settings=settings,
        spec=spec,
    )


@dataclass(frozen=True)
class Leaver:
    """A tenant that goes out of the backups of a server's own data.

    `request`: what asked for it. It makes a Job's success the evidence of that request and of no later one.
    """

    name: str
    uid: str
    request: str


def build_forget_job(
    settings: Settings, server: ElinkServer, region: str, endpoint: Endpoint, leavers: Sequence[Leaver]
) -> Obj:
    """Takes tenants out of every generation and looks again; the report is the termination message.

    Job and pod have no label of a tenant: it is none of a tenant's own backups, whose end an erasure waits for.
    """
    ordered = sorted(leavers, key=lambda one: one.request)
    told = orjson.dumps([[one.name, one.uid] for one in ordered]).decode()
    more = {"ELINK_LEAVERS": told, "ELINK_PATIENCE": str(_PATIENCE_SECONDS)}
    container = _container(settings, server, endpoint, "forget", **more)
    job = one_shot(
        naming.forget_job([one.request for one in leavers]),
        naming.server_namespace(server.name),
        labels.server_labels(server.name, labels.ERASE),
        _pod_spec(settings, server.name, region, endpoint, container),
        backoff_limit=6,
        deadline_seconds=6 * 3600,
        pod_labels=labels.server_labels(server.name, labels.BACKUP),
    )
    asked = orjson.dumps({one.request: one.name for one in ordered}).decode()
    job["metadata"]["annotations"] = {labels.FORGETS: asked}
    return job


def forgotten_by(job: Obj) -> dict[str, str]:
    """Whom a Job takes out of a server's own backups: request → tenant. Empty: it is no such Job."""
    try:
        found = orjson.loads((job["metadata"].get("annotations") or {}).get(labels.FORGETS, "{}"))
    except orjson.JSONDecodeError:
        return {}
    return {str(request): str(name) for request, name in found.items()} if isinstance(found, dict) else {}


def _container(settings: Settings, server: ElinkServer, endpoint: Endpoint, *action: str, **told: str) -> Obj:
    return repository_program(
        settings,
        repository_of_server(server.name, settings),
        labels.BACKUP,
        ["elink-server-backup", *action],
        {
            "ELINK_SERVER": server.name,
            "ELINK_SERVER_UID": server.metadata.uid,
            "ELINK_GENERATIONS": str(settings.backup_generations),
            **endpoint.client(SECRETS_MOUNT),
            **told,
        },
        [{"name": "snapshot", "mountPath": "/snapshot"}],
        secrets="secrets",
    )


def _pod_spec(settings: Settings, server: str, region: str, endpoint: Endpoint, container: Obj) -> Obj:
    store = repository_of_server(server, settings)
    return {
        **pod.pod_base(settings, naming.SERVICE_ACCOUNT, region),
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": [
            *store.volumes,
            pod.scratch("snapshot", size=_COPY_SIZE),
            pod.scratch(size=PACKS_SIZE),
            pod.secret_files("secrets", {naming.SERVER_BACKUP: LOGIN_KEYS, **endpoint.trusted, **store.secrets}),
        ],
    }
