"""Bounds of a server's namespace."""

from elink_operator import labels, naming
from elink_operator.desired.inputs import ServerInputs
from elink_operator.desired.pod import Obj

JOBS_AT_ONCE = 12
"""Backup, migrate and erase pods together; more of them wait their turn (the Job controller tries again)."""
_VOLUMES = 3


def build_resource_quota(inputs: ServerInputs) -> Obj:
    """Room for a full rolling update plus jobs, and nothing that could open a door to the outside."""
    spec = inputs.server.spec
    web = spec.app.autoscaling.max if spec.app.autoscaling else spec.app.replicas
    pods = 2 * (web + spec.worker.replicas) + 1 + JOBS_AT_ONCE
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {
            "name": naming.RESOURCE_QUOTA,
            "namespace": inputs.namespace,
            "labels": labels.server_labels(inputs.name),
        },
        "spec": {
            "hard": {
                "pods": str(pods),
                "persistentvolumeclaims": str(_VOLUMES),
                "services.loadbalancers": "0",
                "services.nodeports": "0",
            }
        },
    }


def build_limit_range(inputs: ServerInputs) -> Obj:
    """Bounds for a container that names none.

    No limit where the server's spec leaves one out on purpose: 256Mi would end its pods, or keep them from being made.
    """
    spec = inputs.server.spec
    sized = (spec.app.resources, spec.worker.resources, spec.database.resources)
    bounded = all(wanted.limits is not None and wanted.limits.memory is not None for wanted in sized)
    return {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {
            "name": naming.LIMIT_RANGE,
            "namespace": inputs.namespace,
            "labels": labels.server_labels(inputs.name),
        },
        "spec": {
            "limits": [
                {
                    "type": "Container",
                    "defaultRequest": {"cpu": "25m", "memory": "64Mi"},
                    **({"default": {"memory": "256Mi"}} if bounded else {}),
                }
            ]
        },
    }
