"""What must be refused of restores, as sentences that say what to do next. Pure; webhook and reconciler both use it."""

from collections.abc import Iterator

from elink_operator import labels, naming
from elink_operator.api import restore as restore_api
from elink_operator.api.admission import may_move, named_server, validate_tenant
from elink_operator.api.restore import ElinkRestore, Mode, RestorePhase
from elink_operator.api.restored import copy_of, made_by
from elink_operator.api.schema import NAME_RULE
from elink_operator.api.server import DatabaseMode
from elink_operator.api.tenant import ElinkTenant
from elink_operator.api.world import World


def validate_restore(new: ElinkRestore, old: ElinkRestore | None, world: World) -> list[str]:
    """Refusals of a restore that is created (`old` None), changed, or looked at again (`old` is `new`)."""
    if new.deleting:
        return []
    if old is not None and old.spec != new.spec:
        return [restore_api.SPEC_FIXED.message]
    return [*_refusals(new, world)]


def _refusals(new: ElinkRestore, world: World) -> Iterator[str]:
    if not naming.is_valid_name(new.name):
        yield NAME_RULE.message
    if (new.spec.mode is Mode.AS_NEW) != (new.spec.as_new is not None):
        yield restore_api.AS_NEW_TOGETHER.message
        return
    if (new.spec.mode is Mode.MOVE) != (new.spec.move is not None):
        yield restore_api.MOVE_TOGETHER.message
        return
    source = world.tenants.get(new.spec.tenant)
    if source is None:
        yield (
            f"Tenant {new.spec.tenant} does not exist: set spec.tenant to one that 'kubectl get et' lists; "
            "a tenant that was erased cannot come back"
        )
        return
    if _is_being_erased(source, world):
        yield f"Tenant {source.name} is being erased: its data cannot be brought back"
        return
    if new.spec.mode is Mode.IN_PLACE and new.metadata.annotations.get(labels.CONFIRM_RESTORE) != source.name:
        yield (
            f"Restore {new.name} would replace the live data of tenant {source.name}: confirm it with the annotation "
            f"{labels.CONFIRM_RESTORE}: {source.name}"
        )
    if new.spec.move is not None and new.status.phase is RestorePhase.PENDING:
        yield from _asked_for(new, source)
    if new.spec.as_new is not None:
        yield from _new_tenant(new, source, world)


def _is_being_erased(source: ElinkTenant, world: World) -> bool:
    due = source.status.erase_after
    return source.deleting or (due is not None and world.clock() >= due)


def _asked_for(new: ElinkRestore, source: ElinkTenant) -> Iterator[str]:
    """A move follows the tenant's spec: else the tenant would be moved back, or be where nobody looks for it."""
    wanted, target = named_server(source), new.spec.move.server if new.spec.move is not None else ""
    if not may_move(source) or wanted not in {target, None}:
        yield (
            f"Tenant {source.name} is not to live on server {target}: set its spec.plan or spec.server with the "
            f'annotation {labels.MOVE}: "true" instead; the operator then makes the move'
        )


def _new_tenant(new: ElinkRestore, source: ElinkTenant, world: World) -> Iterator[str]:
    present = world.tenants.get(new.target)
    if present is not None:
        if not made_by(present, new):
            yield f"A tenant named {new.target} exists: set spec.asNew.tenant to a name that no tenant has"
        return
    size = source.spec.size
    if size is not None and size.database.mode is DatabaseMode.EXTERNAL:
        yield (
            f"Tenant {source.name} has a PostgreSQL of its own (External), which the server of a copy cannot share: "
            "restore it InPlace, or move it to a Shared server and copy it there"
        )
        return
    wanted = new.spec.as_new.server if new.spec.as_new is not None else None
    yield from validate_tenant(copy_of(source, new, wanted), None, world)
