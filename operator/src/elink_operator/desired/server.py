"""The ElinkServer of a Dedicated tenant."""

from elink_operator import labels, naming
from elink_operator.api import ElinkTenant
from elink_operator.api.server import KIND as SERVER_KIND
from elink_operator.api.server import Size, Tenancy
from elink_operator.api.tenant import KIND as TENANT_KIND
from elink_operator.desired.pod import Obj


def build_dedicated_server(tenant: ElinkTenant, default_region: str) -> Obj:
    """A server with the tenant's name, owned by it: it goes when the tenant goes."""
    size = tenant.spec.size or Size()
    return {
        "apiVersion": naming.API_VERSION,
        "kind": SERVER_KIND,
        "metadata": {
            "name": tenant.name,
            "labels": {labels.MANAGED_BY: labels.MANAGED_BY_VALUE, labels.TENANT: tenant.name},
            "ownerReferences": [
                {
                    "apiVersion": naming.API_VERSION,
                    "kind": TENANT_KIND,
                    "name": tenant.name,
                    "uid": tenant.metadata.uid,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": {
            "tenancy": Tenancy.DEDICATED.value,
            "region": tenant.spec.region or default_region,
            **size.dump(),
        },
    }
