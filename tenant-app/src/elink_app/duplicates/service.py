"""The rules of finding and merging duplicates."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.permissions import Principal
from elink_app.addresses.models import Address
from elink_app.addresses.repository import AddressRepository
from elink_app.addresses.schemas import MAX_EMAILS, MAX_TAGS, PLAIN_FIELDS, AddressUpdate
from elink_app.addresses.service import AddressBook, to_output
from elink_app.audit.service import Actor, record
from elink_app.clock import JST, Clock
from elink_app.duplicates.models import Merge
from elink_app.duplicates.repository import DuplicateRepository
from elink_app.duplicates.schemas import DuplicateGroup, DuplicatePage, Likeness, MergeInput, MergeOutput
from elink_app.emails import email_key
from elink_app.errors import EditConflict, InvalidInput, NotFound
from elink_app.messages import N_, Message
from elink_app.validation import field_error

PAGE_SIZE = 20
_CHANGED = Message(
    N_(
        "One of these addresses was saved by somebody else after you opened the page. "
        "Look at them again and choose anew."
    )
)
_CHANGED_SINCE = Message(
    N_(
        "The address was saved by somebody else after the merge. "
        "It can no longer be undone: change the address by hand."
    )
)


class Duplicates:
    """Duplicates of one tenant within one transaction, as one account sees them."""

    def __init__(
        self, session: AsyncSession, book: AddressBook, principal: Principal, actor: Actor, clock: Clock,
        undo_window: timedelta,
    ) -> None:  # fmt: skip
        self._session = session
        self._book = book
        self._rows = DuplicateRepository(session, principal)
        self._addresses = AddressRepository(session, principal)
        self._actor = actor
        self._clock = clock
        self._undo_window = undo_window

    async def page(self, likeness: Likeness, after: str = "", size: int = PAGE_SIZE) -> DuplicatePage:
        """Groups of addresses that seem to be the same; `after` is `next` of an earlier page."""
        keys = await self._rows.keys(likeness, after, size + 1)
        fields = await self._book.fields()
        items = [
            DuplicateGroup(key=key, addresses=[to_output(row, fields) for row in await self._rows.group(likeness, key)])
            for key in keys[:size]
        ]
        return DuplicatePage(items=items, next=keys[size - 1] if len(keys) > size else None)

    async def merge(self, data: MergeInput) -> MergeOutput:
        """Make one address of several; raises NotFound, InvalidInput, EditConflict.

        E-mails and tags are united; own fields that the kept address lacks come from the others in their order.
        """
        if data.keep in data.merge or not set(data.choices.values()) <= {data.keep, *data.merge}:
            raise InvalidInput([field_error(("merge",), "merge_twice")])
        # In the order of ids, so that two merges wait for each other and do not deadlock.
        found = {one: await self._load(one) for one in sorted({data.keep, *data.merge})}
        for one, row in found.items():
            if data.versions.get(str(one), row.version) != row.version:
                raise EditConflict(_CHANGED)
        kept, others = found[data.keep], [found[one] for one in data.merge]
        fields = await self._book.fields()
        before = to_output(kept, fields)
        united = self._united(data, found, kept, others, {one.key for one in fields})
        now = self._clock()
        # Deleted first: what is written then is never there twice.
        for row in others:
            await self._addresses.mark_deleted(row, now)
        address = await self._book.update(kept.id, united)
        note = Merge(
            kept_id=kept.id, kept_version=address.version, merged_ids=list(data.merge), at=now,
            before=before.model_dump(mode="json", include={*PLAIN_FIELDS, "emails", "tags", "attributes"}),
        )  # fmt: skip
        await self._rows.add(note)
        await record(
            self._session, self._actor, "address.merge", kind="address", key=str(kept.id),
            after={"merged": data.merge, "choices": data.choices}, now=now,
        )  # fmt: skip
        until = (now + self._undo_window).astimezone(JST)
        return MergeOutput(id=note.id, address=address, merged=list(data.merge), until=until)

    async def undo(self, merge_id: int) -> MergeOutput:
        """Bring the merged addresses back and the kept one to what it was.

        Raises NotFound when it is too late, EditConflict when somebody saved the kept address since, LimitReached.
        """
        now = self._clock()
        note = await self._rows.get(merge_id, now - self._undo_window) if 0 < merge_id < 2**63 else None
        if note is None:
            raise NotFound
        kept = await self._load(note.kept_id)
        if kept.version != note.kept_version:
            raise EditConflict(_CHANGED_SINCE)
        for one in sorted(note.merged_ids):
            await self._book.restore(one)
        address = await self._book.update(kept.id, AddressUpdate.model_validate(note.before))
        note.undone_at = now
        await record(
            self._session, self._actor, "address.merge-undo", kind="address", key=str(kept.id),
            after={"restored": list(note.merged_ids)}, now=now,
        )  # fmt: skip
        until = (note.at + self._undo_window).astimezone(JST)
        return MergeOutput(id=note.id, address=address, merged=list(note.merged_ids), until=until)

    async def _load(self, address_id: int) -> Address:
        row = await self._addresses.get(address_id, lock=True)
        if row is None:
            raise NotFound
        return row

    @staticmethod
    def _united(
        data: MergeInput, found: dict[int, Address], kept: Address, others: list[Address], known: set[str]
    ) -> AddressUpdate:
        """What the kept address becomes; raises InvalidInput when there is more than an address holds."""
        values: dict[str, object] = {
            name: getattr(found[data.choices.get(name, kept.id)], name)  # type: ignore[call-overload]
            for name in PLAIN_FIELDS
        }
        emails = {email_key(mail.email): mail.email for row in reversed([kept, *others]) for mail in row.emails[::-1]}
        tags = {tag.id: tag.name for row in [kept, *others] for tag in row.tags}
        if len(emails) > MAX_EMAILS or len(tags) > MAX_TAGS:
            name, most = ("emails", MAX_EMAILS) if len(emails) > MAX_EMAILS else ("tags", MAX_TAGS)
            raise InvalidInput([field_error((name,), "too_long", max_length=most)])
        attributes: dict[str, object] = {}
        for row in [*reversed(others), kept]:
            attributes |= {key: value for key, value in row.attributes.items() if key in known}
        ordered = list(dict.fromkeys(email_key(mail.email) for row in [kept, *others] for mail in row.emails))
        values |= {
            "emails": [emails[key] for key in ordered],
            "tags": list(tags.values()),
            "attributes": attributes,
        }
        return AddressUpdate.model_validate(values)
