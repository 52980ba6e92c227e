"""The StatefulSet `postgres` of an Embedded server."""

from elink_operator import labels, naming
from elink_operator.desired import app, pod
from elink_operator.desired.inputs import ServerInputs
from elink_operator.desired.pod import Obj
from elink_operator.desired.rollout import INPUTS_HASH

DATA_MOUNT = "/var/lib/postgresql"


def build_postgres(inputs: ServerInputs) -> Obj:
    """One PostgreSQL. `OnDelete`: the reconciler decides when it restarts; a resize alone never restarts it."""
    container: Obj = {
        "name": naming.POSTGRES,
        "image": inputs.postgres_image,
        "imagePullPolicy": inputs.settings.image_pull_policy,
        "ports": [{"name": "postgres", "containerPort": naming.POSTGRES_PORT, "protocol": "TCP"}],
        "resources": pod.resources(inputs.server.spec.database.resources),
        "securityContext": pod.container_security(),
        # As long as the image's entry script waits: recovery after a crash begins anew with every restart.
        "startupProbe": _ready(period=1, failures=3600),
        "readinessProbe": _ready(period=5, failures=2),
        "livenessProbe": _ready(period=20, failures=15),
        "volumeMounts": [
            {"name": "data", "mountPath": DATA_MOUNT},
            {"name": "run", "mountPath": "/run/postgresql"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path inside the container
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - a path inside the container
            {"name": "credentials", "mountPath": app.SECRETS_MOUNT, "readOnly": True},
        ],
    }
    spec = {
        **pod.pod_base(inputs.settings, naming.SERVICE_ACCOUNT, inputs.region),
        "terminationGracePeriodSeconds": 120,
        "containers": [container],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": naming.POSTGRES}},
            pod.scratch("run", size="8Mi"),
            pod.scratch(),
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "128Mi"}},
            pod.secret_file("credentials", naming.POSTGRES_SECRET, "username", "password"),
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {
            "name": naming.POSTGRES,
            "namespace": inputs.namespace,
            "labels": app.component_labels(inputs, labels.POSTGRES),
            "annotations": {INPUTS_HASH: app.inputs_hash(inputs, inputs.postgres_image)},
        },
        "spec": {
            "serviceName": naming.POSTGRES,
            "replicas": 1,
            "revisionHistoryLimit": 3,
            "podManagementPolicy": "OrderedReady",
            "updateStrategy": {"type": "OnDelete"},
            "selector": {"matchLabels": labels.component_selector(labels.POSTGRES)},
            "template": {"metadata": app.pod_metadata(inputs, labels.POSTGRES), "spec": spec},
        },
    }


def _ready(*, period: int, failures: int) -> Obj:
    return {
        "exec": {"command": ["pg_isready", "--quiet", "--host=127.0.0.1", f"--port={naming.POSTGRES_PORT}"]},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": 5,
    }
