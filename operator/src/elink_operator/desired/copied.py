"""The ElinkTenant that a restore AsNew makes."""

from elink_operator import labels, naming
from elink_operator.api import ElinkRestore, ElinkTenant
from elink_operator.api.restored import copy_of
from elink_operator.api.tenant import KIND
from elink_operator.desired.pod import Obj


def build_copied_tenant(source: ElinkTenant, restore: ElinkRestore, server: str | None) -> Obj:
    """The source's contract under another name; its annotations say of whom and by which restore."""
    wanted = copy_of(source, restore, server)
    return {
        "apiVersion": naming.API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": wanted.name,
            "labels": {labels.MANAGED_BY: labels.MANAGED_BY_VALUE},
            "annotations": dict(wanted.metadata.annotations),
        },
        "spec": wanted.spec.dump(),
    }
