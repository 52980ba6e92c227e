"""Short ways to write resources in tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from elink_operator.api import ElinkRestore, ElinkServer, ElinkTenant
from elink_operator.api.world import World

NOW = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
BASE_DOMAIN = "elink.example"


def tenant(name: str = "acme", *, status: dict[str, Any] | None = None, meta: Any = None, **spec: Any) -> ElinkTenant:
    """A Shared tenant unless `plan` says otherwise; spec in camelCase."""
    return ElinkTenant.parse(
        {
            "metadata": {
                "name": name,
                "uid": f"uid-{name}",
                "creationTimestamp": "2026-01-01T00:00:00Z",
                **(meta or {}),
            },
            "spec": {"plan": "Shared", "displayName": "A", "masterAccount": {"email": "a@b.example"}, **spec},
            "status": status or {},
        }
    )


def server(name: str = "shared-1", *, meta: Any = None, **spec: Any) -> ElinkServer:
    """A Shared server in region jp; spec in camelCase."""
    return ElinkServer.parse(
        {
            "metadata": {
                "name": name,
                "uid": f"uid-{name}",
                "creationTimestamp": "2026-01-01T00:00:00Z",
                **(meta or {}),
            },
            "spec": {"tenancy": "Shared", "region": "jp", **spec},
        }
    )


def restore(
    name: str,
    *,
    tenant: str = "acme",
    move: str = "",
    source: str = "",
    phase: str = "Pending",
    step: str = "",
    from_backup: bool = False,
) -> ElinkRestore:
    """A drill; with `move` a move from server `source` to that one."""
    spec: dict[str, Any] = {"tenant": tenant, "mode": "Move" if move else "Drill"}
    if move:
        spec["move"] = {"server": move, "fromBackup": from_backup}
    return ElinkRestore.parse(
        {
            "metadata": {"name": name, "uid": f"uid-{name}"},
            "spec": spec,
            "status": {"phase": phase, "step": step, "sourceServer": source},
        }
    )


def owned_by(owner: ElinkTenant) -> dict[str, Any]:
    """Metadata of a server that a Dedicated tenant made."""
    reference = {"apiVersion": "elink-lc.com/v1", "kind": "ElinkTenant", "controller": True}
    return {"ownerReferences": [{**reference, "name": owner.name, "uid": owner.metadata.uid}]}


def world(*objects: ElinkTenant | ElinkServer | ElinkRestore, **settings: Any) -> World:
    """A world at `NOW` with one allowed region, jp."""
    return World(
        **{
            "base_domain": BASE_DOMAIN,
            "regions": frozenset({"jp"}),
            "default_region": "jp",
            "clock": lambda: NOW,
            **settings,
        },
        tenants=[item for item in objects if isinstance(item, ElinkTenant)],
        servers=[item for item in objects if isinstance(item, ElinkServer)],
        restores=[item for item in objects if isinstance(item, ElinkRestore)],
    )
