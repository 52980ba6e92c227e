"""Reading the files of mails from a tenant's shelf."""

from __future__ import annotations

import hashlib

from elink_app.attachments.attachment import Attachment
from elink_app.registry.tenant import Tenant
from elink_app.transfer.store import FileStore, Shelf

REASON = "attachment_missing"
"""Why a delivery stands still, or a test mail was given up."""


class AttachmentLost(Exception):
    """The file is gone, cannot be read, or is not what was attached. Nothing is sent without it, or with another."""


def read(store: FileStore, tenant: Tenant, attachment: Attachment) -> bytes:
    """The content, proved by its hash; raises AttachmentLost. Blocks."""
    try:
        content = store.read(tenant, Shelf.ATTACHMENTS, attachment.file, attachment.size)
    except (OSError, ValueError) as error:
        raise AttachmentLost(attachment.name) from error
    if len(content) != attachment.size or hashlib.sha256(content).hexdigest() != attachment.sha256:
        raise AttachmentLost(attachment.name)
    return content
