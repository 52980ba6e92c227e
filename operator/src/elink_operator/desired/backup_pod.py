"""Containers of the backup image: what all of them are alike in, and what those that open a repository see of it."""

from collections.abc import Mapping, Sequence
from typing import Final

from elink_operator.desired import app, pod
from elink_operator.desired.pod import Obj
from elink_operator.desired.store import StoreAccess
from elink_operator.settings import Settings

DUMP_SIZE: Final = "10Gi"
"""Room on the node for one dump; it is gone with the pod, and never lies unsealed in the store."""
PACKS_SIZE: Final = "512Mi"
"""restic gathers packs in /tmp before it writes them."""
LOGIN_KEYS: Final = ("host", "port", "database", "username", "password")
"""Of a Secret with a log-in to one database."""
TMP: Final[Obj] = {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108 - a path inside the container
DUMP: Final[Obj] = {"name": "dump", "mountPath": "/snapshot/database"}
JOB_NAME: Final[Obj] = {
    "name": "ELINK_JOB",
    "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-name']"}},
}
"""Tells the program which Job it runs in: one of the schedule, or one made by hand."""


def program(
    settings: Settings,
    name: str,
    command: Sequence[str],
    told: Mapping[str, str],
    mounts: Sequence[Obj],
    *,
    memory: tuple[str, str] = ("32Mi", "128Mi"),
) -> Obj:
    """A container that runs one program of the image; `memory`: requested, and the limit."""
    return {
        "name": name,
        "image": settings.backup_image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": list(command),
        "env": pod.env(dict(told)),
        "resources": pod.fixed_resources("50m", *memory),
        "securityContext": pod.container_security(),
        "terminationMessagePolicy": "File",
        "volumeMounts": list(mounts),
    }


def repository_program(
    settings: Settings,
    store: StoreAccess,
    name: str,
    command: Sequence[str],
    told: Mapping[str, str],
    mounts: Sequence[Obj],
    *,
    secrets: str,
) -> Obj:
    """One that opens a repository. `secrets`: the volume with the files of its log-ins and the repository's key."""
    return program(
        settings,
        name,
        command,
        {**told, "ELINK_SECRET_DIR": app.SECRETS_MOUNT, **store.env},
        [*store.mounts, *mounts, TMP, login_mount(secrets)],
        memory=("96Mi", "512Mi"),
    )


def login_mount(volume: str) -> Obj:
    """Where a program finds the files of its log-ins."""
    return {"name": volume, "mountPath": app.SECRETS_MOUNT, "readOnly": True}
