"""The bundled object store of backups: its administrator's log-in, and what the chart is told of it."""

from __future__ import annotations

import base64
import json
import secrets
from typing import Any

from hack.cluster.config import Cluster
from hack.cluster.steps import write_atomic

ACCESS = "elink-operator"
SECRET = "elink-backup-store"  # noqa: S105 - the name of a Secret
VALUES: dict[str, Any] = {
    "store": "S3",
    "s3": {
        "endpoint": "http://store.elink-backup-store.svc:7070",
        "accounts": "versitygw",
        "secretName": SECRET,
    },
}
"""`backup` of the chart's values."""


def login(cluster: Cluster) -> dict[str, str]:
    """Keys `access-key` and `secret-key` in base64; the secret is made once per cluster and kept with its keys."""
    file = cluster.pki / "store.key"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomic(file, secrets.token_urlsafe(32), 0o600)
    pair = {"access-key": ACCESS, "secret-key": file.read_text()}
    return {key: base64.b64encode(value.encode()).decode() for key, value in pair.items()}


def secret(cluster: Cluster, namespace: str) -> str:
    """The Secret that the operator mounts, as JSON."""
    metadata = {"name": SECRET, "namespace": namespace}
    return json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": login(cluster)})
