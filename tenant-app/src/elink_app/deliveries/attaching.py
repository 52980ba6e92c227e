"""The rules of files that go with a delivery. Pages and API call these and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from elink_app.attachments import rules
from elink_app.attachments.attachment import Attachment, parse
from elink_app.attachments.files import AttachmentLost, read
from elink_app.audit.service import Actor
from elink_app.deliveries.schemas import AttachmentOutput
from elink_app.deliveries.service import Deliveries, attachments_output
from elink_app.deliveries.states import ENDED, OPEN, DeliveryState
from elink_app.errors import InvalidInput, NotFound
from elink_app.registry.tenant import Tenant
from elink_app.transfer.store import FileStore, Shelf


@dataclass(frozen=True)
class NewFile:
    """A file that was received: its name on the shelf, what the user calls it, its content and the hash of that."""

    file: str
    name: str
    content: bytes
    sha256: str


class Attaching:
    """The files of one tenant's deliveries within one transaction. `limit`: bytes of a delivery's files together.

    Files that no row names are removed by the worker (`attachments.cleaner`), never here: a transaction that fails
    afterwards must not leave a row without its file.
    """

    def __init__(self, deliveries: Deliveries, tenant: Tenant, store: FileStore, limit: int) -> None:
        self._deliveries = deliveries
        self._tenant = tenant
        self._store = store
        self._limit = limit

    async def all(self, delivery_id: int) -> Sequence[AttachmentOutput]:
        """As they are shown, in the order in which they were attached; raises NotFound."""
        row, _ = await self._deliveries.load(delivery_id)
        return attachments_output(row)

    async def read(self, delivery_id: int, sha256: str) -> tuple[Attachment, bytes]:
        """One file with its content; raises NotFound for one that this delivery does not have, or not any more."""
        found, _ = await self.get(delivery_id, sha256)
        try:
            return found, await asyncio.to_thread(read, self._store, self._tenant, found)
        except AttachmentLost:
            raise NotFound from None

    async def look(self, file: str, name: str, sha256: str) -> NewFile:
        """Read a file that was received, with the hash that was made of it meanwhile."""
        content = await asyncio.to_thread(self._store.read, self._tenant, Shelf.ATTACHMENTS, file, self._limit)
        return NewFile(file, name, content, sha256)

    async def add(self, actor: Actor, delivery_id: int, new: NewFile) -> Attachment:
        """Attach a file; an approval or a request for one is taken back.

        Raises NotFound, WrongState once the delivery is on its way, InvalidInput for a name or a content that is not
        accepted, for too much, and for what is there already.
        """
        row = await self._deliveries.hold(delivery_id, OPEN)
        there = parse(row.attachments)
        if not new.name:
            raise InvalidInput([rules.wrong("required")])
        name = rules.clean_name(new.name)
        if name is None:
            raise InvalidInput([rules.wrong("attachment_name", max_length=rules.MAX_NAME)])
        errors = rules.check_content(name, new.content)
        if errors:
            raise InvalidInput(errors)
        if len(there) >= rules.MAX_FILES:
            raise InvalidInput([rules.wrong("attachment_many", max=rules.MAX_FILES)])
        if sum(one.size for one in there) + len(new.content) > self._limit:
            raise self.too_large()
        if any(one.sha256 == new.sha256 or one.name.casefold() == name.casefold() for one in there):
            raise InvalidInput([rules.wrong("attachment_twice")])
        media_type = rules.media_type_of(name) or "application/octet-stream"
        made = Attachment(name, media_type, len(new.content), new.sha256, new.file)
        await self._deliveries.change_attachments(actor, row, [*there, made], "attached", made)
        return made

    async def get(self, delivery_id: int, sha256: str) -> tuple[Attachment, DeliveryState]:
        """One file, and the state of its delivery; raises NotFound."""
        row, _ = await self._deliveries.load(delivery_id)
        return self._one(parse(row.attachments), sha256), DeliveryState(row.state)

    async def remove(self, actor: Actor, delivery_id: int, sha256: str) -> str:
        """Take a file off (`detached`); an approval is taken back. Of a delivery that has ended, delete the content
        (`discarded`): what mails had stays on record by name, size and hash.

        Returns which of the two was done. Raises NotFound, WrongState while the delivery is on its way.
        """
        row = await self._deliveries.hold(delivery_id, OPEN | ENDED)
        there = parse(row.attachments)
        gone = self._one(there, sha256)
        if DeliveryState(row.state) in ENDED:
            done, left = "discarded", [replace(one, file="") if one is gone else one for one in there]
        else:
            done, left = "detached", [one for one in there if one is not gone]
        await self._deliveries.change_attachments(actor, row, left, done, gone)
        return done

    def too_large(self) -> InvalidInput:
        """The refusal of too much."""
        return InvalidInput([rules.wrong("attachment_large", max_kilobytes=self._limit // 1000)])

    @staticmethod
    def _one(there: Sequence[Attachment], sha256: str) -> Attachment:
        for one in there:
            if one.sha256 == sha256 and one.kept:
                return one
        raise NotFound
