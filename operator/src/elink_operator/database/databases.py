"""The PostgreSQL servers that this process works with, and what it knows of each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from elink_operator.database import census, erase, residue, restoring, server, snapshot, spares, tenant
from elink_operator.database.errors import ServerNotPrepared
from elink_operator.database.model import Census, ErasureEvidence, ServerDb, Snapshot, TenantDb
from elink_operator.database.residue import Residue
from elink_operator.database.sessions import Limits, Sessions

_UNKNOWN = ("", "")


@dataclass
class _Known:
    sessions: Sessions
    prepared: bool = False
    complete: dict[str, tuple[str, str]] = field(default_factory=dict)
    """tenant → spec_hash and role_hash of those known to be complete; empty after a change that ended in the middle."""
    snapshot: Snapshot | None = None
    """Speaks for the tenants that `complete` does not name: nothing was changed of them since."""
    reading: asyncio.Task[Snapshot] | None = None
    clearing: asyncio.Lock = field(default_factory=asyncio.Lock)
    cleared: tuple[float, Residue] | None = None
    """When the last clearing of residue began, and what it did."""

    async def read(self, *, anew: bool) -> Snapshot:
        """What the server holds; all who wait share one reading and its failure.

        `anew` forgets what is known, so that drift is found and repaired.
        """
        if anew:
            self.snapshot, self.reading = None, None
            self.complete.clear()
        if self.snapshot is not None:
            return self.snapshot
        if self.reading is None:
            self.reading = asyncio.create_task(snapshot.read_snapshot(self.sessions))
        reading = self.reading
        try:
            found = await asyncio.shield(reading)
        finally:
            if reading.done() and self.reading is reading:
                self.reading = None
                self.snapshot = None if reading.cancelled() or reading.exception() else reading.result()
        return found


class Databases:
    """Entry point of the reconcilers. A tenant that is known to be complete costs no query."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._servers: dict[str, _Known] = {}

    async def ensure_server(self, target: ServerDb) -> None:
        """Roles, registry, template database: once per process, when the access changes, and when they are missed."""
        async with self._of(target) as known:
            if not known.prepared:
                await server.ensure_server(known.sessions)
                known.prepared = True

    async def mark_template(self, target: ServerDb, revision: str) -> None:
        """Say that the template is migrated to `revision`, or with an empty text that a migration begins."""
        async with self._of(target) as known:
            await server.mark_template(known.sessions, revision)

    async def ensure_tenant(self, target: ServerDb, wanted: TenantDb, *, may_make: bool = True) -> bool:
        """Role, database, grants, registry row; no query when they are known to be there as wanted.

        True when the database was not there and was made, empty; with `may_make` False that is `DatabaseLost` instead.
        """
        async with self._of(target) as known:
            whole = (wanted.spec_hash, wanted.role_hash)
            done = known.complete.get(wanted.name)
            if done is None and (await known.read(anew=False)).holds(wanted):
                # Unless it was changed while the snapshot was read.
                done = known.complete.setdefault(wanted.name, whole)
            if done == whole:
                return False
            known.complete[wanted.name] = _UNKNOWN
            try:
                only_the_row = done is not None and done[1] == wanted.role_hash
                made = False
                if not (only_the_row and await tenant.update_row(known.sessions, wanted)):
                    made = await tenant.ensure_tenant(known.sessions, wanted, may_make=may_make)
            except BaseException:
                known.complete[wanted.name] = _UNKNOWN
                raise
            known.complete[wanted.name] = whole
            return made

    async def set_state(self, target: ServerDb, name: str, uid: str, state: str, reason: str) -> None:
        """State and reason of a tenant whose other changes may not take effect; nothing when it has no row."""
        async with self._of(target) as known:
            known.complete[name] = _UNKNOWN
            await tenant.set_state(known.sessions, name, uid, state, reason)

    async def snapshot(self, target: ServerDb) -> Snapshot:
        """Read the server anew; what was known of its tenants is forgotten, so that drift is found and repaired."""
        async with self._of(target) as known:
            found = await known.read(anew=True)
            if not server.is_prepared(found):
                known.prepared = False
            return found

    async def drop_tenant(self, target: ServerDb, doomed: TenantDb) -> ErasureEvidence:
        """Remove a tenant's database, role and registry row, and look again."""
        async with self._of(target) as known:
            known.complete[doomed.name] = _UNKNOWN
            return await erase.drop_tenant(known.sessions, doomed)

    async def clear_residue(self, target: ServerDb) -> Residue:
        """Get rid of what PostgreSQL keeps of everything dropped before this call; who waits shares one turn."""
        async with self._of(target) as known:
            asked = time.monotonic()
            async with known.clearing:
                if known.cleared is None or known.cleared[0] < asked:
                    began = time.monotonic()
                    known.cleared = began, await residue.clear_residue(known.sessions)
                return known.cleared[1]

    async def make_scratch(self, target: ServerDb, wanted: TenantDb, scratch: str) -> None:
        """An empty database that only the tenant's role may enter, in place of what an earlier try left."""
        async with self._of(target) as known:
            await restoring.make_scratch(known.sessions, wanted, scratch)

    async def drop_scratch(self, target: ServerDb, wanted: TenantDb, scratch: str) -> bool:
        """Remove what a restore filled, and look again; False when it was not there."""
        async with self._of(target) as known:
            return await restoring.drop_scratch(known.sessions, wanted, scratch)

    async def adopt_scratch(self, target: ServerDb, wanted: TenantDb, scratch: str, kept: str) -> None:
        """Put `scratch` in the place of the tenant's database, which is kept as `kept`."""
        async with self._of(target) as known:
            known.complete[wanted.name] = _UNKNOWN
            await restoring.adopt_scratch(known.sessions, wanted, scratch, kept)

    async def return_kept(self, target: ServerDb, wanted: TenantDb, kept: str, scratch: str) -> None:
        """Undo `adopt_scratch`; what was restored is called `scratch` again."""
        async with self._of(target) as known:
            known.complete[wanted.name] = _UNKNOWN
            await restoring.return_kept(known.sessions, wanted, kept, scratch)

    async def drop_kept(self, target: ServerDb, wanted: TenantDb, kept: str) -> bool:
        """Give up the way back, and look again; False when nothing was kept."""
        async with self._of(target) as known:
            return await restoring.drop_kept(known.sessions, wanted, kept)

    async def census(self, target: ServerDb, without: str) -> Census:
        """Count all tenants of the server but the database `without`."""
        async with self._of(target) as known:
            return await census.take_census(known.sessions, without)

    async def fill_spares(self, target: ServerDb, wanted: int) -> bool:
        """One step towards `wanted` spare databases; False when nothing was to be done. For idle times."""
        async with self._of(target) as known:
            return await spares.fill_spares(known.sessions, wanted)

    async def forget(self, name: str) -> None:
        """Close the connections to a server that is gone."""
        known = self._servers.pop(name, None)
        if known is not None:
            await known.sessions.close()

    async def close(self) -> None:
        """Close all connections."""
        for name in list(self._servers):
            await self.forget(name)

    @asynccontextmanager
    async def _of(self, target: ServerDb) -> AsyncIterator[_Known]:
        known = self._servers.get(target.name)
        if known is not None and known.sessions.server != target:
            await self.forget(target.name)
            known = None
        if known is None:
            known = self._servers[target.name] = _Known(Sessions(target, self._limits))
        try:
            yield known
        except ServerNotPrepared:
            known.prepared = False
            raise
