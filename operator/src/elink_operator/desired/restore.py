"""The Jobs of a restore: a backup first, reading a generation into an empty place, the files' part of the switch."""

from dataclasses import dataclass
from typing import Final, Literal

from elink_operator import labels, naming
from elink_operator.api import ElinkRestore, ElinkTenant
from elink_operator.api.restore import LATEST, Mode
from elink_operator.api.schema import quantity_value
from elink_operator.desired import app, pod
from elink_operator.desired.backup_pod import (
    LOGIN_KEYS,
    PACKS_SIZE,
    TMP,
    login_mount,
    program,
    repository_program,
)
from elink_operator.desired.cronjob import build_backup
from elink_operator.desired.inputs import ServerInputs, TenantInputs
from elink_operator.desired.pod import Obj
from elink_operator.desired.store import StoreAccess

FilesAction = Literal["prepare", "switch", "return", "clear-restore", "clear-kept"]

RESTORE: Final = "restore"
MIGRATE: Final = "migrate"
DISARM: Final = "disarm"

_KEEP_SECONDS: Final = 3600
_LONGEST_SECONDS: Final = 6 * 3600
_LONGEST_FILES_SECONDS: Final = 600
_INTO: Final = "/restored"
_SPARE_BYTES: Final = 2**30
_SECRETS: Final = "secrets"
_LOGIN: Final = "login"


@dataclass(frozen=True)
class RestoreInputs:
    """One restore: `source` is whose repository is read, `target` whose place is filled, `server` where that is."""

    restore: ElinkRestore
    source: ElinkTenant
    target: TenantInputs
    server: ServerInputs
    store: StoreAccess

    @property
    def scratch(self) -> str:
        return naming.scratch_database(self.target.name, naming.digest(self.restore.metadata.uid))

    @property
    def kept(self) -> str:
        return naming.kept_database(self.target.name, naming.digest(self.restore.metadata.uid))

    @property
    def generation(self) -> str:
        """What is read. A move reads the last backup that it made itself, whatever a node's clock says of others."""
        made = self.restore.status.safety_backup
        if self.restore.goes_on_as_it_was and naming.is_generation(made):
            return made
        return self.restore.spec.generation

    def job_name(self, what: str) -> str:
        return naming.restore_job(self.restore.metadata.uid, what)


def build_read_job(inputs: RestoreInputs, attempt: int) -> Obj:
    """Reads the generation into the empty scratch database and an empty folder, and compares.

    For a drill the folder is the pod's own. Else it lies beside the tenant's directory, and the restored database is
    then brought to the server's version and its deliveries are stopped (but for a move). Never repeated by itself:
    what a first try left must be removed before.
    """
    drill = inputs.restore.spec.mode is Mode.DRILL
    reading = _read_container(inputs, drill=drill)
    if drill:
        first, last = [], reading
    elif inputs.restore.goes_on_as_it_was:
        first, last = [_files_container(inputs, "prepare"), reading], _migrate_container(inputs)
    else:
        first = [_files_container(inputs, "prepare"), reading, _migrate_container(inputs)]
        last = _disarm_container(inputs)
    login: dict[str, tuple[str, ...]] = {
        naming.tenant_secret(inputs.target.name): LOGIN_KEYS,
        **inputs.server.endpoint.trusted,
    }
    volumes = [
        *inputs.store.volumes,
        pod.scratch(size=PACKS_SIZE),
        pod.secret_files(_SECRETS, {**login, **inputs.store.secrets}),
    ]
    if drill:
        limit = quantity_value(inputs.source.spec.limits.storage)
        volumes.append(pod.scratch("restored", size=str(int(limit) + _SPARE_BYTES)))
    else:
        volumes += [pod.claim(naming.FILES_VOLUME), pod.secret_files(_LOGIN, login)]
    spec: Obj = {**_pod_base(inputs), "containers": [last], "volumes": volumes}
    if first:
        spec["initContainers"] = first
    return _job(inputs, f"read-{attempt}", spec, backoff_limit=0, deadline_seconds=_LONGEST_SECONDS)


def build_files_job(inputs: RestoreInputs, action: FilesAction) -> Obj:
    """Swaps the tenant's directory with the restored one, returns it, or removes one of the two."""
    spec: Obj = {
        **_pod_base(inputs),
        "containers": [_files_container(inputs, action)],
        "volumes": [pod.claim(naming.FILES_VOLUME)],
    }
    return _job(inputs, action, spec, backoff_limit=1, deadline_seconds=_LONGEST_FILES_SECONDS)


def build_safety_backup(inputs: RestoreInputs) -> Obj:
    """The backup before the data is replaced: as every night, but an extra one, which displaces no daily one.

    What it holds is to be replaced (but by a move), so it must neither pass for the latest generation nor push out the
    one that is wanted.
    """
    spec = inputs.restore.spec
    template = build_backup(inputs.target)["spec"]["jobTemplate"]
    container = template["spec"]["template"]["spec"]["containers"][0]
    told = {} if spec.mode is Mode.MOVE else {"ELINK_SAFETY": "true"}
    if spec.generation != LATEST:
        told["ELINK_SPARE"] = spec.generation
    container["env"] = [*container["env"], *pod.env(told)]
    marks = {**template["metadata"]["labels"], labels.RESTORE: inputs.restore.name}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": inputs.job_name("safety"),
            "namespace": inputs.target.namespace,
            "labels": marks,
        },
        # The tenant waits, and whoever asked for the restore too.
        "spec": {**template["spec"], "backoffLimit": 1},
    }


def _read_container(inputs: RestoreInputs, *, drill: bool) -> Obj:
    settings = inputs.target.settings
    into: Obj = {"name": "restored", "mountPath": _INTO}
    if not drill:
        # Not the parent: what comes out of a repository can be written into this one folder only.
        subpath = naming.restored_files_subpath(inputs.target.name)
        into = {"name": naming.FILES_VOLUME, "mountPath": _INTO, "subPath": subpath}
    return repository_program(
        settings,
        inputs.store,
        RESTORE,
        [
            "elink-backup",
            "restore",
            f"--generation={inputs.generation}",
            f"--into-database={inputs.scratch}",
            f"--into-directory={_INTO}",
        ],
        {
            "ELINK_TENANT_ID": naming.short_id(inputs.source.name),
            "ELINK_TENANT_UID": inputs.source.metadata.uid,
            **inputs.server.endpoint.client(app.SECRETS_MOUNT),
        },
        [into],
        secrets=_SECRETS,
    )


def _migrate_container(inputs: RestoreInputs) -> Obj:
    """The app's own migration, on the scratch database alone, as the tenant's role: it sees no files and no key."""
    container = app.app_container(inputs.server, MIGRATE, pod.fixed_resources("100m", "192Mi", "512Mi"))
    own = {
        "ELINK_MIGRATE_DATABASE": inputs.scratch,
        "ELINK_DB_USER": naming.tenant_role(inputs.target.name),
        "ELINK_DB_PASSWORD_FILE": f"{app.SECRETS_MOUNT}/password",
        "ELINK_FILES_DIR": "/tmp",  # noqa: S108 - a path inside the container
    }
    container["env"] = pod.env({**{entry["name"]: entry["value"] for entry in container["env"]}, **own})
    container["volumeMounts"] = [TMP, login_mount(_LOGIN)]
    return container


def _disarm_container(inputs: RestoreInputs) -> Obj:
    told = {
        "ELINK_TENANT_ID": naming.short_id(inputs.target.name),
        "ELINK_SECRET_DIR": app.SECRETS_MOUNT,
        **inputs.server.endpoint.client(app.SECRETS_MOUNT),
    }
    command = ["elink-backup", "disarm", f"--database={inputs.scratch}"]
    return program(inputs.target.settings, DISARM, command, told, [TMP, login_mount(_LOGIN)])


def _files_container(inputs: RestoreInputs, action: FilesAction) -> Obj:
    """Sees the directories of all tenants of the server, because a folder cannot be renamed from inside: exact IDs."""
    verb, _, which = action.partition("-")
    command = ["elink-files", verb, *([f"--{which}"] if which else [])]
    told = {"ELINK_TENANT_ID": naming.short_id(inputs.target.name)}
    tenants: Obj = {"name": naming.FILES_VOLUME, "mountPath": "/tenants", "subPath": naming.TENANTS_FOLDER}
    return program(inputs.target.settings, verb, command, told, [tenants])


def _pod_base(inputs: RestoreInputs) -> Obj:
    target = inputs.target
    return {**pod.pod_base(target.settings, naming.SERVICE_ACCOUNT, target.region), "restartPolicy": "Never"}


def _job(inputs: RestoreInputs, what: str, spec: Obj, *, backoff_limit: int, deadline_seconds: int) -> Obj:
    """The Job is a restore's; to every policy its pod is one of a backup: it reaches the same places."""
    target = inputs.target
    mark = {labels.RESTORE: inputs.restore.name}
    pod_labels = {**labels.tenant_labels(target.server, target.name, labels.BACKUP), **mark}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": inputs.job_name(what),
            "namespace": target.namespace,
            "labels": {**labels.tenant_labels(target.server, target.name, labels.RESTORING), **mark},
        },
        "spec": {
            "backoffLimit": backoff_limit,
            "activeDeadlineSeconds": deadline_seconds,
            "ttlSecondsAfterFinished": _KEEP_SECONDS,
            "template": {"metadata": {"labels": pod_labels}, "spec": spec},
        },
    }
