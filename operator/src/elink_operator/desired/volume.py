"""PersistentVolumeClaims of a server."""

from elink_operator import labels, naming
from elink_operator.desired.inputs import ServerInputs
from elink_operator.desired.pod import Obj


def build_files_volume(inputs: ServerInputs) -> Obj:
    """`files`: the directories of all tenants of the server."""
    files = inputs.server.spec.files
    return _claim(inputs, naming.FILES_VOLUME, files.size, files.access_mode.value, files.storage_class_name)


def build_backups_volume(inputs: ServerInputs) -> Obj:
    """`backups`: one folder per tenant."""
    mode = inputs.server.spec.files.access_mode.value
    return _claim(inputs, naming.BACKUPS_VOLUME, inputs.settings.backups_size, mode, None)


def build_postgres_volume(inputs: ServerInputs) -> Obj:
    """`postgres`: a claim of its own instead of a template of the StatefulSet, because templates cannot grow."""
    return _claim(inputs, naming.POSTGRES, inputs.server.spec.database.storage, "ReadWriteOnce", None)


def _claim(inputs: ServerInputs, name: str, size: str, mode: str, storage_class: str | None) -> Obj:
    spec: Obj = {"accessModes": [mode], "resources": {"requests": {"storage": size}}}
    chosen = storage_class or inputs.settings.storage_class
    if chosen:
        spec["storageClassName"] = chosen
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": inputs.namespace, "labels": labels.server_labels(inputs.name)},
        "spec": spec,
    }
