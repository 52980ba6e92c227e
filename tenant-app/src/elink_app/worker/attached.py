"""Files of the deliveries that a process is sending: proved, encoded once, and not too many at a time."""

from __future__ import annotations

from datetime import timedelta

from elink_app.attachments.attachment import Attachment
from elink_app.attachments.files import read
from elink_app.mail.attachments import encoded_part
from elink_app.registry.tenant import Tenant
from elink_app.transfer.store import FileStore

# Six deliveries with as much as may be, 16 MB when encoded. Each tenant may have four runs, and there are many.
_MOST_BYTES = 12_000_000
FILES_WAIT = timedelta(seconds=2)
"""When a run that had to wait looks again."""


class FilesWait(Exception):
    """Other runs hold as many files as a process may; some will end."""


class AttachedFiles:
    """What a process holds is counted from `reserve` to `give_back`, in bytes before they are encoded."""

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self._held = 0

    def reserve(self, attachments: tuple[Attachment, ...]) -> int:
        """Count the files of one run; raises FilesWait, but never for the only one. Returns what to give back."""
        size = sum(one.size for one in attachments)
        if size and self._held and self._held + size > _MOST_BYTES:
            raise FilesWait
        self._held += size
        return size

    def give_back(self, size: int) -> None:
        """The run has ended."""
        self._held -= size

    def parts(self, tenant: Tenant, attachments: tuple[Attachment, ...]) -> tuple[bytes, ...]:
        """The files as parts of a mail; raises AttachmentLost. Blocks."""
        return tuple(encoded_part(one.name, one.media_type, read(self._store, tenant, one)) for one in attachments)
