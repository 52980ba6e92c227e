"""The first page's facts as a dependency of page and API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends

from elink_app.addresses.deps import BookDep
from elink_app.dashboard.service import Board, board
from elink_app.transfer.store import FileStore
from elink_app.web.deps import DbDep, PrincipalDep, StateDep, TenantDep


async def first_page(db: DbDep, state: StateDep, tenant: TenantDep, principal: PrincipalDep, book: BookDep) -> Board:
    """What the caller may see of it, in the request's transaction."""

    async def measured(bytes_of_database: Callable[[], Awaitable[int]]) -> int:
        async def measure() -> int:
            files = await asyncio.to_thread(FileStore(state.settings.tenants_dir).used, tenant)
            return files + await bytes_of_database()

        return await state.storage.used(tenant.name, measure)

    return await board(db, principal, book, tenant.limits, measured, state.clock())


BoardDep = Annotated[Board, Depends(first_page)]
