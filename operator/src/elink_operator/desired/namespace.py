"""The namespace of a server and the account that its pods run as."""

from elink_operator import labels, naming
from elink_operator.desired.inputs import ServerInputs
from elink_operator.desired.pod import Obj

_PROFILE = "restricted"


def build_namespace(server: str) -> Obj:
    """Pod Security `restricted` is enforced: a pod that breaks out of it is refused by the API server."""
    security = {f"pod-security.kubernetes.io/{mode}": _PROFILE for mode in ("enforce", "warn", "audit")}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": naming.server_namespace(server), "labels": {**labels.server_labels(server), **security}},
    }


def build_service_account(inputs: ServerInputs) -> Obj:
    """An account without token and without rights: tenant pods never talk to the API server."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {
            "name": naming.SERVICE_ACCOUNT,
            "namespace": inputs.namespace,
            "labels": labels.server_labels(inputs.name),
        },
        "automountServiceAccountToken": False,
    }
