"""The rehearsal of a restore that the operator makes by itself."""

from elink_operator import labels, naming
from elink_operator.api.restore import KIND, Mode
from elink_operator.desired.pod import Obj


def build_drill(tenant: str, date: str) -> Obj:
    """A drill of the tenant's newest generation; `date` (yyyymmdd) keeps a second one of that day away."""
    return {
        "apiVersion": naming.API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": naming.drill(tenant, date),
            "labels": {labels.MANAGED_BY: labels.MANAGED_BY_VALUE, labels.DRILL: "true"},
        },
        "spec": {"tenant": tenant, "mode": Mode.DRILL.value},
    }
