"""The HTTPRoute of a tenant."""

from elink_operator import labels, naming
from elink_operator.desired.inputs import TenantInputs
from elink_operator.desired.pod import Obj


def build_route(inputs: TenantInputs) -> Obj:
    """The tenant's host name on the TLS listener of the platform's Gateway, to the server's web pods."""
    settings = inputs.settings
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {
            "name": naming.tenant_route(inputs.name),
            "namespace": inputs.namespace,
            "labels": labels.tenant_labels(inputs.server, inputs.name),
        },
        "spec": {
            "parentRefs": [
                {
                    "group": "gateway.networking.k8s.io",
                    "kind": "Gateway",
                    "namespace": settings.gateway_namespace,
                    "name": settings.gateway_name,
                    "sectionName": settings.gateway_listener,
                }
            ],
            "hostnames": [inputs.host],
            "rules": [{"backendRefs": [{"name": naming.WEB, "port": naming.WEB_SERVICE_PORT}]}],
        },
    }
