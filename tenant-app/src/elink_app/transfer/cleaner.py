"""Deletes files of imports and exports, images for undoing and old jobs, when their time is over."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from elink_app.clock import Clock
from elink_app.database.engines import TenantDatabases
from elink_app.jobs.repository import JobRepository
from elink_app.ops.servers import Stop
from elink_app.registry.tenant import Tenant
from elink_app.transfer.exporter import WORKBOOK
from elink_app.transfer.repository import TransferRepository
from elink_app.transfer.store import FileStore, Shelf

KEEP_FILES = timedelta(days=7)
KEEP_JOBS = timedelta(days=90)
_BATCH = 1000


class TransferCleaner:
    """A task of the worker; every step may be repeated."""

    name = "transfer-cleaning"

    def __init__(self, databases: TenantDatabases, store: FileStore, clock: Clock, undo_window: timedelta) -> None:
        self._databases = databases
        self._store = store
        self._clock = clock
        self._undo_window = undo_window

    async def run(self, tenant: Tenant, stop: Stop) -> bool:
        """One round; True while images are left to be deleted."""
        now = self._clock()
        async with self._databases.transaction(tenant) as db:
            rows = TransferRepository(db)
            for file in await rows.outdated(now - KEEP_FILES):
                await asyncio.to_thread(self._store.remove, tenant, Shelf.IMPORTS, file.file)
                await rows.forget(file)
            for job in await rows.finished_exports(now - KEEP_FILES):
                # Of one that was killed or stopped while a workbook was packed, what it was made from or half of it.
                plain = job.result["file"].removesuffix(WORKBOOK)
                for name in (plain, plain + WORKBOOK):
                    await asyncio.to_thread(self._store.remove, tenant, Shelf.EXPORTS, name)
                job.result = {name: value for name, value in job.result.items() if name != "file"}
            await JobRepository(db).purge(now - KEEP_JOBS)
            return await rows.prune_changes(now - self._undo_window, _BATCH) == _BATCH
