"""The PodDisruptionBudget of the web pods."""

from elink_operator import labels, naming
from elink_operator.desired.inputs import ServerInputs
from elink_operator.desired.pod import Obj


def build_pdb(inputs: ServerInputs) -> Obj:
    """Voluntary disruptions take one web pod at a time; a pod that is sick anyway never blocks a drain."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {
            "name": naming.WEB,
            "namespace": inputs.namespace,
            "labels": labels.server_labels(inputs.name, labels.WEB),
        },
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": labels.component_selector(labels.WEB)},
        },
    }
