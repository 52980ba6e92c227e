"""The HorizontalPodAutoscaler of the web pods."""

from elink_operator import labels, naming
from elink_operator.api.server import Autoscaling
from elink_operator.desired.inputs import ServerInputs
from elink_operator.desired.pod import Obj


def build_hpa(inputs: ServerInputs, wanted: Autoscaling) -> Obj:
    """Scales `web` by CPU, in percent of the request."""
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {
            "name": naming.WEB,
            "namespace": inputs.namespace,
            "labels": labels.server_labels(inputs.name, labels.WEB),
        },
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": naming.WEB},
            "minReplicas": wanted.min,
            "maxReplicas": wanted.max,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {
                        "name": "cpu",
                        "target": {"type": "Utilization", "averageUtilization": wanted.target_cpu},
                    },
                }
            ],
        },
    }
