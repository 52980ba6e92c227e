"""What must be refused of changes to a server's size that could not last. Pure; for the webhook.

A Dedicated server is rendered from its tenant's `spec.size`, and an autoscaler has the number of pods in its hands:
what somebody writes there is overwritten. The reconciler says so of what passed while the webhook was away.
"""

from collections.abc import Iterator

from elink_operator.api.schema import quantity_value
from elink_operator.api.server import ElinkServer, Size
from elink_operator.api.tenant import ElinkTenant, Plan
from elink_operator.api.world import World


def validate_size(new: ElinkServer, old: ElinkServer | None, world: World) -> list[str]:
    """Refusals of a change of a Dedicated server's size that is not its tenant's."""
    owner = tenant_of(new, world)
    if owner is None or old is None:
        return []
    wanted = owner.spec.size or Size()
    wrong = [
        part
        for part in Size.model_fields
        if getattr(new.spec, part) != getattr(old.spec, part) and getattr(new.spec, part) != getattr(wanted, part)
    ]
    return [change_the_tenant(owner, wrong)] if wrong else []


def validate_scale(name: str, replicas: int, world: World) -> list[str]:
    """Refusals of a write of the scale subresource: `kubectl scale es/NAME`."""
    server = world.servers.get(name)
    return [] if server is None else [*_scale(server, replicas, world)]


def smaller_volumes(size: Size) -> Iterator[str]:
    """A tenant without `size` already has volumes of the default size."""
    default = Size()
    for path, wanted, present in (
        ("database.storage", size.database.storage, default.database.storage),
        ("files.size", size.files.size, default.files.size),
    ):
        if quantity_value(wanted) < quantity_value(present):
            yield (
                f"spec.size.{path} cannot be {wanted}: the volume has {present} already and cannot shrink; "
                f"give {present} or more"
            )


def tenant_of(server: ElinkServer, world: World) -> ElinkTenant | None:
    """The Dedicated tenant from whose spec the server is made, or None."""
    owner = world.tenants.get(server.name)
    if owner is None or owner.spec.plan is not Plan.DEDICATED or not owner.owns(server):
        return None
    return owner


def change_the_tenant(owner: ElinkTenant, parts: list[str]) -> str:
    """The sentence for people who change the server instead of its tenant."""
    fields = ", ".join(f"spec.size.{part}" for part in parts)
    return (
        f"Server {owner.name} belongs to the Dedicated tenant {owner.name} and has the size that the tenant's spec "
        f"says: change {fields} of the tenant instead ('kubectl edit et {owner.name}')"
    )


def _scale(server: ElinkServer, replicas: int, world: World) -> Iterator[str]:
    owner = tenant_of(server, world)
    if owner is not None and replicas != (owner.spec.size or Size()).app.replicas:
        patch = f'{{"spec":{{"size":{{"app":{{"replicas":{replicas}}}}}}}}}'
        yield (
            f"Server {server.name} belongs to the Dedicated tenant {owner.name} and has the size that the tenant's "
            f"spec says: 'kubectl patch et {owner.name} --type=merge -p {patch}' instead"
        )
    elif server.spec.app.autoscaling is not None:
        yield (
            f"Server {server.name} has an autoscaler, which sets the number of web pods: set spec.app.autoscaling.min "
            "and max instead, or remove spec.app.autoscaling first"
        )
