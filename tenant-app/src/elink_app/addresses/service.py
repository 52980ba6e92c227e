"""The rules of the address book. Pages and API call these and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.permissions import Principal
from elink_app.addresses.computed import computed
from elink_app.addresses.id_sets import Members
from elink_app.addresses.models import Address
from elink_app.addresses.repository import AddressRepository, Cursor, Filter, Order, email_rows
from elink_app.addresses.schemas import PLAIN_FIELDS, AddressInput, AddressOutput, AddressPage, AddressUpdate
from elink_app.attributes.schemas import AttributeOutput, AttributeValues, Value
from elink_app.attributes.service import definitions
from elink_app.audit.service import Actor, record
from elink_app.clock import JST, Clock
from elink_app.errors import EditConflict, InvalidInput, LimitReached, NotFound
from elink_app.registry.tenant import Tenant
from elink_app.text import search_form, search_terms
from elink_app.validation import field_error

PAGE_SIZE = 50
_MAX_ID = 2**63 - 1


@dataclass(frozen=True)
class Query:
    """A list that somebody asks for: by words and a tag, or a segment. `cursor` is a text of an earlier AddressPage."""

    text: str = ""
    tag: str = ""
    order: Order = Order.KANA
    cursor: str = ""
    size: int = PAGE_SIZE
    segment: Members | None = None


@dataclass(frozen=True)
class DeletedAddress:
    """An address that can still be brought back, until `until`."""

    id: int
    name: str
    company: str
    deleted_at: datetime
    until: datetime


def to_output(address: Address, fields: Sequence[AttributeOutput]) -> AddressOutput:
    """An address with its parts loaded, as it is shown; values of deleted `fields` are not."""
    return AddressOutput(
        id=address.id,
        version=address.version,
        name=address.name,
        kana=address.kana,
        company=address.company,
        emails=[row.email for row in address.emails],
        phone=address.phone,
        postal_code=address.postal_code,
        postal_address=address.postal_address,
        notes=address.notes,
        tags=[tag.name for tag in address.tags],
        attributes={one.key: address.attributes[one.key] for one in fields if one.key in address.attributes},
        created_at=address.created_at.astimezone(JST),
        updated_at=address.updated_at.astimezone(JST),
    )


def _fill(address: Address, data: AddressInput, attributes: Mapping[str, Value], now: datetime) -> None:
    for field in PLAIN_FIELDS:
        setattr(address, field, getattr(data, field))
    address.attributes = dict(attributes)
    for name, value in computed(data, data.emails, attributes).items():
        setattr(address, name, value)
    address.updated_at = now


class AddressBook:
    """The address book of one tenant within one transaction, as one account may see and change it."""

    def __init__(
        self,
        session: AsyncSession,
        tenant: Tenant,
        clock: Clock,
        undo_window: timedelta,
        principal: Principal,
        actor: Actor,
    ) -> None:
        self._session = session
        self._rows = AddressRepository(session, principal)
        self._actor = actor
        self._fields: list[AttributeOutput] | None = None
        self._tenant = tenant
        self._clock = clock
        self._undo_window = undo_window

    @property
    def limit(self) -> int | None:
        """How many addresses the plan holds; None = no limit."""
        return self._tenant.limits.addresses

    async def used(self) -> int:
        """How many addresses the account can see."""
        return await self._rows.usage() - await self._rows.hidden()

    async def is_full(self) -> bool:
        """True when the plan holds no more."""
        return self.limit is not None and await self._rows.usage() >= self.limit

    async def fields(self) -> list[AttributeOutput]:
        """The tenant's own fields, in their order."""
        if self._fields is None:
            self._fields = await definitions(self._session)
        return self._fields

    async def tags(self) -> Sequence[str]:
        """The names of tags in use, 200 at most."""
        return await self._rows.all_tags(limit=200)

    async def page(self, query: Query) -> AddressPage:
        """One page; raises InvalidInput for a cursor that is not ours."""
        try:
            cursor = Cursor.decode(query.cursor, query.order) if query.cursor else None
        except ValueError:
            raise InvalidInput([field_error(("cursor",), "cursor")]) from None
        fields = await self.fields()
        wanted = Filter(tuple(search_terms(query.text)), query.tag)
        if query.segment is not None:
            total, few = await self._rows.members(query.segment.ids)
            wanted = replace(wanted, condition=query.segment.condition if few is None else few)
        else:
            total = await self._rows.count(wanted)
        found = await self._rows.page(wanted, query.order, cursor, query.size)

        def place(row: Address, *, backwards: bool) -> str:
            key = row.sort_key if query.order is Order.KANA else row.updated_at.isoformat()
            return Cursor(key, row.id, backwards).encode()

        rows = found.rows
        return AddressPage(
            items=[to_output(row, fields) for row in rows],
            next=place(rows[-1], backwards=False) if rows and found.has_next else None,
            previous=place(rows[0], backwards=True) if rows and found.has_previous else None,
            total=total,
        )

    async def recent(self, size: int) -> Sequence[AddressOutput]:
        """The addresses that were saved last."""
        found = await self._rows.page(Filter(), Order.UPDATED, None, size)
        fields = await self.fields()
        return [to_output(row, fields) for row in found.rows]

    async def get(self, address_id: int) -> AddressOutput:
        """One address; raises NotFound."""
        return to_output(await self._load(address_id), await self.fields())

    async def create(self, data: AddressInput) -> AddressOutput:
        """Add an address; raises LimitReached when the plan is full."""
        attributes = await self._checked_values(data)
        await self._require_room()
        now = self._clock()
        address = Address(version=1, created_at=now, emails=email_rows(data.emails))
        _fill(address, data, attributes, now)
        await self._rows.add(address, data.tags)
        await self._note("address.create", address)
        return to_output(address, await self.fields())

    async def update(self, address_id: int, data: AddressUpdate) -> AddressOutput:
        """Replace all fields; raises NotFound, or EditConflict when `data.version` is not the newest."""
        attributes = await self._checked_values(data)
        address = await self._load(address_id, lock=True)
        if data.version is not None and data.version != address.version:
            raise EditConflict
        before = to_output(address, await self.fields())
        left = {search_form(tag) for tag in data.tags}
        if bound := await self._rows.bound(tag for tag in before.tags if search_form(tag) not in left):
            raise InvalidInput([field_error(("tags",), "tag_bound", tags="、".join(bound))])
        known = {one.key for one in await self.fields()}
        # Values of a deleted field stay until they are erased: the field may be brought back.
        kept = {key: value for key, value in address.attributes.items() if key not in known}
        _fill(address, data, {**kept, **attributes}, self._clock())
        address.version += 1
        await self._rows.replace_parts(address, data.emails, data.tags)
        after = to_output(address, await self.fields())
        changed = [name for name in data.model_fields_set | set(PLAIN_FIELDS) if name != "version"]
        changed = sorted(name for name in changed if getattr(before, name) != getattr(after, name))
        await self._note("address.update", address, after={"changed": changed})
        return after

    async def delete(self, address_id: int) -> None:
        """Delete softly: `restore` works while the undo window lasts. Raises NotFound."""
        address = await self._load(address_id, lock=True)
        await self._rows.mark_deleted(address, self._clock())
        await self._note("address.delete", address)

    async def restore(self, address_id: int) -> AddressOutput:
        """Bring a deleted address back; raises NotFound when it is too late, LimitReached when the plan is full."""
        await self._require_room()
        address = await self._rows.get_deleted(self._checked(address_id), self._undo_since(), lock=True)
        if address is None:
            raise NotFound
        await self._rows.mark_deleted(address, None)
        await self._note("address.restore", address)
        return to_output(address, await self.fields())

    async def recently_deleted(self) -> Sequence[DeletedAddress]:
        """What can be brought back, the newest first, 200 at most."""
        rows = await self._rows.deleted(self._undo_since(), limit=200)
        return [self._deleted(row, row.deleted_at) for row in rows if row.deleted_at is not None]

    async def recently_deleted_one(self, address_id: int) -> DeletedAddress | None:
        """One of them, or None when it cannot be brought back."""
        row = await self._rows.get_deleted(self._checked(address_id), self._undo_since())
        return self._deleted(row, row.deleted_at) if row is not None and row.deleted_at is not None else None

    async def count_recently_deleted(self) -> int:
        """How many can be brought back."""
        return await self._rows.count_deleted(self._undo_since())

    def _deleted(self, row: Address, when: datetime) -> DeletedAddress:
        return DeletedAddress(row.id, row.name, row.company, when, when + self._undo_window)

    def _undo_since(self) -> datetime:
        return self._clock() - self._undo_window

    async def _note(self, action: str, address: Address, after: Mapping[str, object] | None = None) -> None:
        """Which fields changed, not their values: the log outlives an erased address."""
        await record(
            self._session, self._actor, action, kind="address", key=str(address.id), after=after, now=self._clock()
        )

    async def _checked_values(self, data: AddressInput) -> dict[str, Value]:
        values, errors = AttributeValues(await self.fields()).check(data.attributes)
        reserved = await self._rows.reserved(data.tags) if data.tags else set()
        errors += [
            field_error(("tags", position), "tag_reserved")
            for position, name in enumerate(data.tags)
            if search_form(name) in reserved
        ]
        if errors:
            raise InvalidInput(errors)
        return values

    async def _require_room(self) -> None:
        used = await self._rows.lock_usage()
        if self.limit is not None and used >= self.limit:
            raise LimitReached(self.limit)

    async def _load(self, address_id: int, *, lock: bool = False) -> Address:
        address = await self._rows.get(self._checked(address_id), lock=lock)
        if address is None:
            raise NotFound
        return address

    @staticmethod
    def _checked(address_id: int) -> int:
        if not 0 < address_id <= _MAX_ID:
            raise NotFound
        return address_id
