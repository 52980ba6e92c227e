"""Imports as a dependency of pages and API, and the way a file comes in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request
from fastapi import Path as PathParameter

from elink_app.accounts.permissions import Permission, Principal
from elink_app.errors import Forbidden
from elink_app.registry.tenant import Tenant
from elink_app.sentforms.deps import FIELD, once_of
from elink_app.sentforms.service import SentForms, form_sha256
from elink_app.transfer.exports import Exports
from elink_app.transfer.service import Imports, StorageFull
from elink_app.transfer.store import FileStore, Shelf
from elink_app.web.deps import ActorDep, DbDep, PrincipalDep, StateDep, TenantDep, current_principal, require
from elink_app.web.state import WebState, state_of, tenant_of
from elink_app.web.uploads import Received

FileId = Annotated[int, PathParameter(ge=1, le=2**63 - 1, examples=[1])]


def store_of(state: WebState) -> FileStore:
    """The files of imports and exports."""
    return FileStore(state.settings.tenants_dir)


def imports_service(db: DbDep, state: StateDep, tenant: TenantDep) -> Imports:
    """The tenant's imports in the request's transaction."""
    return Imports(db, tenant, store_of(state), state.clock, state.undo_window)


ImportsDep = Annotated[Imports, Depends(imports_service)]


def _require_import(principal: Principal) -> Principal:
    """An import is a utility program that changes addresses: it needs both permissions."""
    if not (principal.may(Permission.UTILITIES_RUN) and principal.may(Permission.ADDRESSES_EDIT)):
        raise Forbidden
    return principal


async def may_import(principal: PrincipalDep) -> Principal:
    """Lets only accounts pass that may import."""
    return _require_import(principal)


MayImport = Annotated[Principal, Depends(may_import)]


MayExport = Annotated[Principal, Depends(require(Permission.ADDRESSES_EXPORT))]


def exports_service(db: DbDep, state: StateDep, tenant: TenantDep, principal: PrincipalDep, actor: ActorDep) -> Exports:
    """The tenant's exports in the request's transaction."""
    return Exports(db, tenant, store_of(state), principal, actor, state.clock)


ExportsDep = Annotated[Exports, Depends(exports_service)]


async def room_for_files(state: WebState, tenant: Tenant) -> int | None:
    """How many bytes of files the tenant's plan has room for, None: any; raises StorageFull when there is none."""
    limit = tenant.limits.storage_bytes
    room = None if limit is None else limit - await asyncio.to_thread(store_of(state).used, tenant)
    if room is not None and room <= 0:
        raise StorageFull
    return room


async def receive(request: Request, reader: Callable[[Request, Path, int | None], Awaitable[Received]]) -> int:
    """Take a file in with `reader` (request, where to, how many bytes there is room for); the id of the import.

    Raises SentBefore when the same form brought the same file before.
    Who asks is found out before anything is written, and no transaction stays open while the file comes in.
    """
    state, tenant = state_of(request), tenant_of(request)
    principal = _require_import(await current_principal(request, state))
    store = store_of(state)
    room = await room_for_files(state, tenant)
    file = store.new(tenant, Shelf.IMPORTS)
    path = store.path(tenant, Shelf.IMPORTS, file)
    received = await reader(request, path, room)
    typed = [("file", received.name), ("sha256", received.sha256)]
    form = form_sha256(received.fields.get(FIELD, ""), request.url.path, typed)
    try:
        async with state.databases.transaction(tenant) as db:
            once = await once_of(SentForms(db, principal.account_id, state.clock), form)
            imports = Imports(db, tenant, store, state.clock, state.undo_window)
            number = await imports.add(principal, file, received.name)
            await once.made(f"/imports/{number}")
            return number
    except BaseException:
        path.unlink(missing_ok=True)
        raise
