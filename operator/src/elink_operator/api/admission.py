"""What must be refused, as sentences that say what to do next. Pure; the webhook and the reconciler both use it.

Every function returns the refusals; an empty list means allowed. `old` is the object before an update and None for a
creation. The reconciler passes the object as both: then transitions are not judged, and of two objects that claim the
same thing only the one that came later is refused, so that a webhook outage cannot turn a working tenant off.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from elink_operator import labels, naming
from elink_operator.api import server as server_api
from elink_operator.api import tenant as tenant_api
from elink_operator.api.admission_size import smaller_volumes
from elink_operator.api.restore import RestoreStep
from elink_operator.api.schema import NAME_RULE
from elink_operator.api.server import ElinkServer, Tenancy
from elink_operator.api.tenant import ElinkTenant, Plan, State
from elink_operator.api.world import World
from elink_operator.jst import jst

__all__ = [
    "World",
    "is_to_be_erased",
    "validate_delete_server",
    "validate_delete_tenant",
    "validate_server",
    "validate_tenant",
]

FROM_BACKUP: Final = "from-backup"
"""Value of the annotation `move`: the tenant's server is lost, and what the store has is moved."""
_FQDN_MAX: Final = 253
_LABEL_MAX: Final = 63
_CRONJOB_MAX: Final = 52
_NAMES_SHOWN: Final = 3
_EPOCH: Final = datetime.fromtimestamp(0, UTC)


def validate_tenant(new: ElinkTenant, old: ElinkTenant | None, world: World) -> list[str]:
    """Refusals of a tenant that is created (`old` None), changed, or looked at again (`old` is `new`)."""
    if new.deleting:
        return []
    if _is_of_the_contract(new, old):
        # What else is wrong with the tenant must keep nobody from suspending or cancelling it, or from undoing that.
        return [*_tenant_transition(new, old, world)]
    return [
        *_name(new.name),
        *_tenant_transition(new, old, world),
        *_tenant_shape(new),
        *_region_allowed(world.region(new.spec), world),
        *_host(new, old, world),
        *_tenant_names(new, world),
        *_pin(new, old, world),
        *_own_server(new, world),
    ]


def validate_server(new: ElinkServer, old: ElinkServer | None, world: World) -> list[str]:
    """Refusals of a server that is created (`old` None), changed, or looked at again (`old` is `new`)."""
    if new.deleting:
        return []
    return [
        *_name(new.name),
        *_server_transition(new, old, world),
        *_region_allowed(world.region(new.spec), world),
        *_server_names(new, world),
        *_own_database(new, world),
    ]


def validate_delete_tenant(tenant: ElinkTenant) -> list[str]:
    """Refusals of a deletion: the customer cancelled, or whoever deletes says the name again in an annotation."""
    confirmed = tenant.metadata.annotations.get(labels.CONFIRM_ERASURE) == tenant.name
    if tenant.spec.state is State.CANCELLED or confirmed:
        return []
    return [
        f"Tenant {tenant.name} is {tenant.spec.state.value}: deleting it would erase the customer's data and backups. "
        "Set spec.state to Cancelled first, or confirm with "
        f"'kubectl annotate et {tenant.name} {labels.CONFIRM_ERASURE}={tenant.name}' and delete again"
    ]


def is_to_be_erased(tenant: ElinkTenant) -> bool:
    """Deleted, and as admission demands, which may not have been asked: a deletion of the CRD passes it."""
    return tenant.deleting and not validate_delete_tenant(tenant)


def validate_delete_server(server: ElinkServer, world: World) -> list[str]:
    """Refusals of a deletion: a server goes after its tenants."""
    unread = world.unread_residents(server.name)
    if unread:
        return [
            f"Server {server.name} has {_count(len(unread), 'tenant')} that the operator cannot read "
            f"({_some([u.name for u in unread])}), so that it may hold their data: correct or erase them first"
        ]
    owner = world.tenants.get(server.name)
    if owner is not None and owner.owns(server) and (owner.deleting or _has_left(owner, server, world)):
        return []
    residents = world.residents(server.name)
    if not residents:
        return []
    if all(tenant.status.server not in ("", server.name) for tenant in residents):
        return [
            f"Server {server.name} still has data of {_count(len(residents), 'tenant')} that moved away or comes "
            f"({_some([t.name for t in residents])}): delete it when their moves in 'kubectl get er' are at step Done"
        ]
    if server.spec.tenancy is Tenancy.DEDICATED:
        return [
            f"Server {server.name} belongs to the Dedicated tenant {residents[0].name}: "
            "cancel and delete the tenant instead, the server goes with it"
        ]
    return [
        f"Server {server.name} still has {_count(len(residents), 'tenant')} ({_some([t.name for t in residents])}): "
        "cancel and delete them first"
    ]


def _has_left(owner: ElinkTenant, server: ElinkServer, world: World) -> bool:
    """A Dedicated tenant has moved away, and its move has come to the removal of what it left; the operator asks."""
    move = world.moving(owner.name)
    lives_there = owner.status.server in ("", server.name)
    return not lives_there and move is not None and move.status.step == RestoreStep.REMOVE_SOURCE


def _name(name: str) -> Iterator[str]:
    if not naming.is_valid_name(name):
        yield NAME_RULE.message


def _tenant_transition(new: ElinkTenant, old: ElinkTenant | None, world: World) -> Iterator[str]:
    if old is None:
        return
    yield from _moves(new, old, world)
    if world.region(new.spec) != world.region(old.spec):
        yield tenant_api.REGION_FIXED.message
    erase_after = old.status.erase_after
    if (
        old.spec.state is State.CANCELLED
        and new.spec.state is not State.CANCELLED
        and erase_after is not None
        and world.clock() >= erase_after
    ):
        yield (
            f"The cancellation of tenant {new.name} can no longer be undone: its time to do so ended at "
            f"{jst(erase_after)} and erasure has begun; make a new tenant under another name"
        )
    dedicated = old.spec.plan is Plan.DEDICATED
    if dedicated and old.spec.size is None and new.spec.size is not None and old is not new:
        yield from smaller_volumes(new.spec.size)


def _is_of_the_contract(new: ElinkTenant, old: ElinkTenant | None) -> bool:
    """A change of the state and of its reason alone."""
    if old is None or old is new:
        return False
    as_before = {"state": old.spec.state, "state_reason": old.spec.state_reason}
    return new.spec != old.spec and new.spec.model_copy(update=as_before) == old.spec


def _moves(new: ElinkTenant, old: ElinkTenant, world: World) -> Iterator[str]:
    """A change of the plan or of the server moves the data: only when it is asked for, and one at a time."""
    plan = new.spec.plan is not old.spec.plan
    if not plan and new.spec.server == old.spec.server:
        return
    move = world.moving(new.name)
    if move is not None and move.spec.move is not None:
        back = named_server(new) in {move.status.source_server, None} and not move.finished
        if not back and named_server(new) != move.spec.move.server:
            yield (
                f"Tenant {new.name} is being moved to server {move.spec.move.server}: wait until "
                f"'kubectl get er {move.name}' says that it is over, or set spec.plan and spec.server back to end it"
            )
    elif plan and not may_move(new):
        yield (
            f"spec.plan cannot be changed just like that: the data of tenant {new.name} has to move to another server. "
            f'If that is wanted, set the annotation {labels.MOVE}: "true" in the same change'
        )
    if plan and new.spec.state is State.CANCELLED:
        yield f"Tenant {new.name} is Cancelled and is not moved any more: undo the cancellation first"


def may_move(tenant: ElinkTenant) -> bool:
    """Whether the annotation allows that the tenant's data moves to another server."""
    return tenant.metadata.annotations.get(labels.MOVE) in {"true", FROM_BACKUP}


def named_server(tenant: ElinkTenant) -> str | None:
    """The server that the spec asks for; None when one is to be chosen."""
    return tenant.name if tenant.spec.plan is Plan.DEDICATED else tenant.spec.server


def _tenant_shape(new: ElinkTenant) -> Iterator[str]:
    if new.spec.plan is Plan.SHARED and new.spec.size is not None:
        yield tenant_api.SIZE_NEEDS_DEDICATED.message
    if new.spec.plan is Plan.DEDICATED and new.spec.server is not None:
        yield tenant_api.PIN_NEEDS_SHARED.message


def _region_allowed(region: str, world: World) -> Iterator[str]:
    if region not in world.regions:
        allowed = _some(sorted(world.regions), len(world.regions)) or "none"
        yield (f"Region {region} is not allowed on this platform: set spec.region to an allowed region ({allowed})")


def _host(new: ElinkTenant, old: ElinkTenant | None, world: World) -> Iterator[str]:
    fqdn = world.fqdn(new)
    if len(fqdn) > _FQDN_MAX:
        yield (
            f"The full host name of tenant {new.name} would have {len(fqdn)} characters, "
            f"{_FQDN_MAX} are allowed: set a shorter spec.host"
        )
    prefix = fqdn.removesuffix(f".{world.base_domain}")
    if fqdn == world.base_domain:
        yield f"Host {fqdn} is the platform's own domain: set spec.host to a name under it or to another domain"
    elif prefix != fqdn and "." in prefix:
        yield (
            f"Host {fqdn} has more than one label before {world.base_domain}, which the platform's certificate "
            "does not cover: use one label"
        )
    moved = old is None or world.fqdn(old) != fqdn
    for other in world.tenants_with_host(fqdn, besides=new.name):
        if moved or _claims_before(other, new, fqdn):
            yield f"Host {fqdn} is taken by tenant {other.name}: set spec.host to another name"
            return
    for unread in world.unread_with_host(fqdn, besides=new.name) if moved else ():
        yield f"Host {fqdn} is taken by tenant {unread.name}: set spec.host to another name"


def _claims_before(other: ElinkTenant, new: ElinkTenant, fqdn: str) -> bool:
    """True when `other` serves the host already, or neither does and `other` is the older."""
    serves, rival_serves = (urlsplit(tenant.status.url).hostname == fqdn for tenant in (new, other))
    if serves != rival_serves:
        return rival_serves
    return _seniority(other) < _seniority(new)


def _seniority(resource: ElinkTenant | ElinkServer) -> tuple[datetime, str]:
    return (resource.metadata.creation_timestamp or _EPOCH, resource.name)


def _tenant_names(new: ElinkTenant, world: World) -> Iterator[str]:
    short_id = naming.short_id(new.name)
    for other in world.tenants_with_id(short_id, besides=new.name):
        if other not in world.tenants or _seniority(world.tenants[other]) <= _seniority(new):
            yield (f"Tenant {new.name} would get the ID {short_id}, which tenant {other} has: choose another name")
            return
    yield from _fit(
        new.name,
        {
            naming.tenant_database(new.name): _LABEL_MAX,
            naming.tenant_secret(new.name): _LABEL_MAX,
            naming.tenant_route(new.name): _LABEL_MAX,
            naming.erase_job(new.name): _LABEL_MAX,
            naming.backup_cronjob(new.name): _CRONJOB_MAX,
            naming.master_secret(new.name): _FQDN_MAX,
        },
    )


def _server_names(new: ElinkServer, world: World) -> Iterator[str]:
    short_id = naming.short_id(new.name)
    for other in world.servers_with_id(short_id, besides=new.name):
        if other not in world.servers or _seniority(world.servers[other]) <= _seniority(new):
            yield f"Server {new.name} would get the ID {short_id}, which server {other} has: choose another name"
            break
    claimant = world.tenants.get(new.name)
    if (
        claimant is not None
        and claimant.spec.plan is Plan.DEDICATED
        and not claimant.owns(new)
        # A tenant that took the name later, while the webhook was away, turns no working server off.
        and _seniority(claimant) <= _seniority(new)
    ):
        yield (
            f"The name {new.name} is kept for the server of the Dedicated tenant {claimant.name}: choose another name"
        )
    yield from _fit(new.name, {naming.server_namespace(new.name): _LABEL_MAX})


def _own_database(new: ElinkServer, world: World) -> Iterator[str]:
    """Registry, template and roles have fixed names: two servers in one PostgreSQL would take each other's."""
    reference = new.spec.database.secret_ref
    if reference is None:
        return
    for other in world.servers.values():
        same = other.name != new.name and other.spec.database.secret_ref == reference
        if same and not other.deleting and _seniority(other) <= _seniority(new):
            yield (
                f"database.secretRef {reference.name} is the one of server {other.name}: each server needs a "
                "PostgreSQL of its own"
            )
            break


def _fit(name: str, derived: dict[str, int]) -> Iterator[str]:
    for long_name, limit in derived.items():
        if len(long_name) > limit:
            yield f"Name {name} is too long: {long_name} would have more than {limit} characters; choose a shorter name"
            return


def _pin(new: ElinkTenant, old: ElinkTenant | None, world: World) -> Iterator[str]:
    """A pinned server must be able to take the tenant, unless the tenant lives there already."""
    name, home = new.spec.server, new.status.server
    if name is None or new.spec.plan is Plan.DEDICATED or name == home:
        return
    if home and not may_move(new):
        yield (
            f"Tenant {new.name} lives on server {home} and would have to move: set spec.server to {home} or remove it, "
            f'or set the annotation {labels.MOVE}: "true" in the same change'
        )
        return
    server = world.servers.get(name)
    if server is None:
        fault = "cannot be read by the operator" if (server_api.KIND, name) in world.unread else "does not exist"
        yield f"Server {name} {fault}: set spec.server to one that 'kubectl get es' lists, or remove it"
        return
    yield from _cannot_take(server, new, fresh=old is None or old.spec.server != name, world=world)


def _cannot_take(server: ElinkServer, new: ElinkTenant, *, fresh: bool, world: World) -> Iterator[str]:
    advice = "choose another server, or remove spec.server to let one be chosen"
    region, wanted = world.region(server.spec), world.region(new.spec)
    if server.spec.tenancy is Tenancy.DEDICATED:
        yield f"Server {server.name} is Dedicated and takes no other tenant: {advice}"
        return
    if server.deleting:
        yield f"Server {server.name} is being deleted: {advice}"
    if server.spec.cordoned:
        yield f"Server {server.name} is cordoned and takes no new tenant: {advice}"
    if region != wanted:
        yield f"Server {server.name} is in region {region} but tenant {new.name} belongs in {wanted}: {advice}"
    ahead = [
        other
        for other in world.residents(server.name, besides=new.name)
        if fresh or other.status.server or _seniority(other) < _seniority(new)
    ]
    taken = len(ahead) + len(world.unread_residents(server.name, besides=new.name))
    if taken >= server.spec.capacity:
        yield f"Server {server.name} is full ({taken} of {_count(server.spec.capacity, 'tenant')}): {advice}"


def _own_server(new: ElinkTenant, world: World) -> Iterator[str]:
    """A Dedicated tenant's server bears its name; one that others made is never taken over."""
    if new.spec.plan is not Plan.DEDICATED:
        return
    server = world.servers.get(new.name)
    if (server_api.KIND, new.name) in world.unread:
        yield f"A server named {new.name} cannot be read by the operator: correct it, or choose another tenant name"
    if server is not None and not server.metadata.controlled_by(tenant_api.KIND, new.name):
        yield f"A server named {new.name} exists and is not this tenant's: choose another tenant name"
    elif server is not None and not new.owns(server):
        yield (
            f"The server of an earlier tenant named {new.name} is still being removed: "
            "wait until 'kubectl get es' no longer lists it, then try again"
        )
    if server is not None:
        return
    short_id = naming.short_id(new.name)
    for other in world.servers_with_id(short_id, besides=new.name):
        yield (
            f"The server of tenant {new.name} would get the ID {short_id}, which server {other} has: "
            "choose another tenant name"
        )
        return


def _server_transition(new: ElinkServer, old: ElinkServer | None, world: World) -> Iterator[str]:
    if old is None:
        return
    if new.spec.tenancy is not old.spec.tenancy:
        yield server_api.TENANCY_FIXED.message
    if world.region(new.spec) != world.region(old.spec):
        yield server_api.REGION_FIXED.message


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _some(names: list[str], most: int = _NAMES_SHOWN) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, ..."
