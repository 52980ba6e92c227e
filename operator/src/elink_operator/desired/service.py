"""The Services `web`, `inbound` and `postgres`."""

from elink_operator import labels, naming
from elink_operator.desired.inputs import ServerInputs
from elink_operator.desired.pod import Obj


def build_web_service(inputs: ServerInputs) -> Obj:
    """What tenant routes point at."""
    return _service(inputs, naming.WEB, labels.WEB, "http", naming.WEB_SERVICE_PORT, naming.WEB_PORT)


def build_inbound_service(inputs: ServerInputs) -> Obj:
    """Where the relay hands over mail to the server's bounce domain; the worker takes it."""
    return _service(inputs, naming.INBOUND, labels.WORKER, "smtp", naming.INBOUND_SERVICE_PORT, naming.INBOUND_PORT)


def build_postgres_service(inputs: ServerInputs) -> Obj:
    """The stable name of the server's PostgreSQL."""
    return _service(inputs, naming.POSTGRES, labels.POSTGRES, "postgres", naming.POSTGRES_PORT, naming.POSTGRES_PORT)


def _service(inputs: ServerInputs, name: str, component: str, port_name: str, port: int, target: int) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": inputs.namespace,
            "labels": labels.server_labels(inputs.name, component),
        },
        "spec": {
            "type": "ClusterIP",
            "selector": labels.component_selector(component),
            "ports": [{"name": port_name, "port": port, "protocol": "TCP", "targetPort": target}],
        },
    }
