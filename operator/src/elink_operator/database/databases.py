"""The PostgreSQL servers that this process works with, and what it knows of each."""

from __future__ import annotations

from dataclasses import dataclass, field

from elink_operator.database import census, erase, server, snapshot, spares, tenant
from elink_operator.database.model import Census, ErasureEvidence, ServerDb, Snapshot, TenantDb
from elink_operator.database.sessions import Limits, Sessions


@dataclass
class _Known:
    sessions: Sessions
    prepared: bool = False
    complete: dict[str, str] = field(default_factory=dict)
    """tenant → spec_hash of those that are known to be complete."""
    snapshot: Snapshot | None = None


class Databases:
    """Entry point of the reconcilers. A tenant that is known to be complete costs no query."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._servers: dict[str, _Known] = {}

    async def ensure_server(self, target: ServerDb) -> None:
        """Roles, registry, template database; once per process and whenever the credentials or address change."""
        known = await self._of(target)
        if not known.prepared:
            await server.ensure_server(known.sessions)
            known.prepared = True

    async def mark_template(self, target: ServerDb, revision: str) -> None:
        """Say that the template is migrated to `revision`, or with an empty text that a migration begins."""
        await server.mark_template((await self._of(target)).sessions, revision)

    async def ensure_tenant(self, target: ServerDb, wanted: TenantDb) -> None:
        """Role, database, grants, registry row; no query when they are known to be there as wanted."""
        known = await self._of(target)
        if known.complete.get(wanted.name) == wanted.spec_hash:
            return
        if known.snapshot is None:
            known.snapshot = await snapshot.read_snapshot(known.sessions)
        if not known.snapshot.holds(wanted):
            await tenant.ensure_tenant(known.sessions, wanted)
        known.complete[wanted.name] = wanted.spec_hash

    async def snapshot(self, target: ServerDb) -> Snapshot:
        """Read the server anew; what was known of its tenants is forgotten, so that drift is found and repaired."""
        known = await self._of(target)
        known.snapshot = await snapshot.read_snapshot(known.sessions)
        known.complete.clear()
        return known.snapshot

    async def drop_tenant(self, target: ServerDb, doomed: TenantDb) -> ErasureEvidence:
        """Remove a tenant's database, role and registry row, and look again."""
        known = await self._of(target)
        known.complete.pop(doomed.name, None)
        known.snapshot = None
        return await erase.drop_tenant(known.sessions, doomed)

    async def census(self, target: ServerDb, without: str) -> Census:
        """Count all tenants of the server but the database `without`."""
        return await census.take_census((await self._of(target)).sessions, without)

    async def fill_spares(self, target: ServerDb, wanted: int) -> bool:
        """One step towards `wanted` spare databases; False when nothing was to be done. For idle times."""
        return await spares.fill_spares((await self._of(target)).sessions, wanted)

    async def forget(self, name: str) -> None:
        """Close the connections to a server that is gone."""
        known = self._servers.pop(name, None)
        if known is not None:
            await known.sessions.close()

    async def close(self) -> None:
        """Close all connections."""
        for name in list(self._servers):
            await self.forget(name)

    async def _of(self, target: ServerDb) -> _Known:
        known = self._servers.get(target.name)
        if known is not None and known.sessions.server != target:
            await self.forget(target.name)
            known = None
        if known is None:
            known = self._servers[target.name] = _Known(Sessions(target, self._limits))
        return known
