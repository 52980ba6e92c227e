"""Removes files that no mail has any more."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from sqlalchemy import text

from elink_app.clock import Clock
from elink_app.database.engines import TenantDatabases
from elink_app.ops.servers import Stop
from elink_app.registry.tenant import Tenant
from elink_app.transfer.store import FileStore, Shelf

# Longer than it takes from the last byte of an upload to the commit of its row.
UPLOADING = timedelta(minutes=10)
# What was given up before anything was sent keeps names and hashes, and no files.
_NEEDED = text("""
SELECT file ->> 'file' FROM delivery, jsonb_array_elements(attachments) AS file
WHERE attachments <> '[]' AND NOT (state = 'cancelled' AND started_at IS NULL)
UNION SELECT file ->> 'file' FROM outbox_mail, jsonb_array_elements(attachments) AS file WHERE done_at IS NULL
""")


class AttachmentCleaner:
    """A task of the worker; it may be repeated, and killed at any point."""

    name = "attachment-cleaning"

    def __init__(self, databases: TenantDatabases, store: FileStore, clock: Clock) -> None:
        self._databases = databases
        self._store = store
        self._clock = clock

    async def run(self, tenant: Tenant, stop: Stop) -> bool:
        """One round."""
        # First the files, then the rows: what is attached in between is in the rows.
        old = await asyncio.to_thread(
            self._store.names_before, tenant, Shelf.ATTACHMENTS, self._clock() - UPLOADING
        )  # fmt: skip
        if not old:
            return False
        async with self._databases.transaction(tenant) as db:
            needed = set((await db.scalars(_NEEDED)).all())
        for name in old:
            if name not in needed:
                await asyncio.to_thread(self._store.remove, tenant, Shelf.ATTACHMENTS, name)
        return False
