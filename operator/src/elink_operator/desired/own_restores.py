"""ElinkRestores that the operator makes: drills, moves, and those of a rebuilt server."""

from collections.abc import Mapping
from typing import Any

from elink_operator import labels, naming
from elink_operator.api.admission import FROM_BACKUP
from elink_operator.api.restore import KIND, Mode
from elink_operator.api.tenant import ElinkTenant
from elink_operator.desired.pod import Obj


def build_drill(tenant: str, date: str) -> Obj:
    """A drill of the tenant's newest generation; `date` (yyyymmdd) keeps a second one of that day away."""
    marks = {labels.MANAGED_BY: labels.MANAGED_BY_VALUE, labels.DRILL: "true"}
    return _restore(naming.drill(tenant, date), marks, {"tenant": tenant, "mode": Mode.DRILL.value})


def build_move(tenant: ElinkTenant, target: str) -> Obj:
    """The move of a tenant to server `target`, which this generation of its spec asks for."""
    from_backup = tenant.metadata.annotations.get(labels.MOVE) == FROM_BACKUP
    marks = {labels.MANAGED_BY: labels.MANAGED_BY_VALUE, labels.TENANT: tenant.name}
    spec = {"tenant": tenant.name, "mode": Mode.MOVE.value, "move": {"server": target, "fromBackup": from_backup}}
    return _restore(naming.move(tenant.name, tenant.metadata.generation), marks, spec)


def build_rebuild(tenant: ElinkTenant, name: str) -> Obj:
    """The restore of the tenant's newest generation into its place, after its server's database was lost."""
    marks = {labels.TENANT: tenant.name, labels.REBUILD: tenant.status.server}
    made = _restore(name, marks, {"tenant": tenant.name, "mode": Mode.IN_PLACE.value})
    made["metadata"]["annotations"] = {labels.CONFIRM_RESTORE: tenant.name}
    return made


def _restore(name: str, marks: Mapping[str, str], spec: Mapping[str, Any]) -> Obj:
    return {
        "apiVersion": naming.API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "labels": dict(marks)},
        "spec": dict(spec),
    }
