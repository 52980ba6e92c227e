"""All SQL of the address book."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import orjson
from sqlalchemy import BigInteger, ColumnElement, Select, and_, case, func, literal, or_, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from elink_app.accounts.permissions import Principal
from elink_app.addresses.id_sets import IdSet
from elink_app.addresses.models import Address, AddressEmail, AddressTag, Tag, Usage
from elink_app.addresses.visibility import Action, forbidden_labels, visible
from elink_app.emails import email_key
from elink_app.text import grams, search_form

COUNT_CAP = 10_000
_PAIR = 2
_FEW = 1000
_MAX_TAGS = 100
# A set of so many at most is looked up address by address; a larger one is met often enough on a walk by the order.
_FEW_MEMBERS = 10_000
# The hash tables of a million ids; a plan for the words and tags at hand, which are rare or common (after five
# executions a prepared statement would get one for all); no compiler for a statement of a tenth of a second.
_PLAN_FOR_MANY = text(
    "SELECT set_config('work_mem', '32MB', true), set_config('plan_cache_mode', 'force_custom_plan', true), "
    "set_config('jit', 'off', true)"
)


class Order(StrEnum):
    """How a list is sorted."""

    KANA = "kana"
    UPDATED = "updated"


@dataclass(frozen=True)
class Cursor:
    """A place in a list: after (or before) the row with this key and id."""

    key: str
    id: int
    backwards: bool

    def encode(self) -> str:
        """As opaque text for an address line."""
        packed = orjson.dumps([self.key, self.id, self.backwards])
        return base64.urlsafe_b64encode(packed).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str, order: Order) -> Cursor:
        """Raises ValueError for anything that `encode` did not make for this order."""
        try:
            key, row, backwards = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        except (binascii.Error, ValueError, TypeError) as error:
            raise ValueError("cursor") from error
        if not isinstance(key, str) or type(row) is not int or not isinstance(backwards, bool) or "\0" in key:
            raise ValueError("cursor")
        if not 0 < row < 2**63 or len(key) > 1000:
            raise ValueError("cursor")
        if order is Order.UPDATED:
            try:
                datetime.fromisoformat(key).astimezone(UTC)
            except OverflowError as error:
                raise ValueError("cursor") from error
        return cls(key, row, backwards)


@dataclass(frozen=True)
class Filter:
    """What to look for: every term (in search form) and, when given, the tag and a condition of a segment."""

    terms: tuple[str, ...] = ()
    tag: str = ""
    condition: ColumnElement[bool] | None = None

    def __bool__(self) -> bool:
        return bool(self.terms or self.tag) or self.condition is not None


@dataclass(frozen=True)
class Found:
    """Rows in the order of the list, and whether there are more on either side."""

    rows: Sequence[Address]
    has_next: bool
    has_previous: bool


def like_pattern(term: str) -> str:
    """`term` anywhere, its own wildcards taken as they are."""
    escaped = term.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def holds_term(term: str) -> ColumnElement[bool]:
    """`term` (in search form) somewhere in what the search looks through."""
    conditions: list[ColumnElement[bool]] = []
    pairs = grams(term)
    if pairs:
        conditions.append(Address.search_grams.contains(pairs))
    # A term of two characters is one pair: the index has answered exactly, and the planner knows better how often.
    if len(term) != _PAIR:
        conditions.append(Address.search_text.like(like_pattern(term)))
    return and_(*conditions)


def _with_parts(statement: Select[Address]) -> Select[Address]:
    return statement.options(selectinload(Address.emails), selectinload(Address.tags))


class AddressRepository:
    """Reads and writes within one transaction, for one account: what it may not see is not there."""

    def __init__(self, session: AsyncSession, principal: Principal) -> None:
        self._session = session
        self._principal = principal
        self._visible = visible(principal)

    async def conditions(self, wanted: Filter) -> list[ColumnElement[bool]]:
        """The parts of the WHERE of a statement on `Address`."""
        conditions: list[ColumnElement[bool]] = [Address.deleted_at.is_(None), self._visible]
        for term in wanted.terms:
            named = await self._session.scalars(select(Tag.id).where(Tag.key.like(like_pattern(term))).limit(_MAX_TAGS))
            ids = list(named.all())
            conditions.append(or_(holds_term(term), Address.tag_ids.overlap(ids)) if ids else holds_term(term))
        if wanted.tag:
            conditions.append(await self._bears(wanted.tag))
        if wanted.condition is not None:
            conditions.append(wanted.condition)
        return conditions

    async def _bears(self, name: str) -> ColumnElement[bool]:
        """Bears the tag. The planner cannot know how rare a tag is (array statistics hold the common ones only), and
        walks a million rows in search of fifty: so a tag that few bear is looked up first."""
        tag_id = await self._session.scalar(select(Tag.id).where(Tag.key == search_form(name)))
        few = select(AddressTag.address_id).where(AddressTag.tag_id == (tag_id or 0)).limit(_FEW + 1)
        bearers = (await self._session.scalars(few)).all()
        return Address.id.in_(bearers) if len(bearers) <= _FEW else Address.tag_ids.contains([tag_id])

    async def after(self, wanted: Filter, address_id: int, size: int) -> Sequence[Address]:
        """The next `size` addresses in the order of their ids: for work that goes through all of them."""
        statement = _with_parts(select(Address)).where(*await self.conditions(wanted), Address.id > address_id)
        return (await self._session.scalars(statement.order_by(Address.id).limit(size))).all()

    async def page(self, wanted: Filter, order: Order, cursor: Cursor | None, size: int) -> Found:
        """One page after or before `cursor`, `size` rows at most."""
        await self._session.execute(_PLAN_FOR_MANY)
        backwards = cursor is not None and cursor.backwards
        descending = (order is Order.UPDATED) != backwards
        key = Address.sort_key if order is Order.KANA else Address.updated_at
        statement = _with_parts(select(Address)).where(*await self.conditions(wanted)).limit(size + 1)
        if cursor is not None:
            value = cursor.key if order is Order.KANA else datetime.fromisoformat(cursor.key)
            place = tuple_(key, Address.id)
            here = tuple_(value, cursor.id)
            statement = statement.where(place < here if descending else place > here)
        if descending:
            statement = statement.order_by(key.desc(), Address.id.desc())
        else:
            statement = statement.order_by(key, Address.id)
        rows = list((await self._session.scalars(statement)).all())
        more = len(rows) > size
        rows = rows[:size]
        if backwards:
            rows.reverse()
            return Found(rows, has_next=True, has_previous=more)
        return Found(rows, has_next=more, has_previous=cursor is not None)

    async def count(self, wanted: Filter) -> int:
        """Exact up to COUNT_CAP, COUNT_CAP + 1 for more; without a filter always exact."""
        if not wanted:
            return await self.usage() - await self.hidden()
        await self._session.execute(_PLAN_FOR_MANY)
        capped = select(Address.id).where(*await self.conditions(wanted)).limit(COUNT_CAP + 1).subquery()
        return await self._session.scalar(select(func.count()).select_from(capped)) or 0

    def _reached(self, wanted: IdSet) -> Select[int]:
        """Ids of `wanted.ids` that are live and visible. Those left out are few, and each is an entry of an index."""
        ids = wanted.ids.subquery()
        deleted = select(Address.id).where(Address.deleted_at.is_not(None), Address.id == ids.c.id)
        statement = select(ids.c.id).where(~deleted.exists())
        if self._principal.is_master:
            return statement
        labels = forbidden_labels(self._principal)
        hidden = select(AddressTag.address_id).where(AddressTag.tag_id.in_(labels), AddressTag.address_id == ids.c.id)
        return statement.where(~hidden.exists())

    async def count_set(self, wanted: IdSet) -> int:
        """Exactly how many live addresses of a set the account can see."""
        await self._session.execute(_PLAN_FOR_MANY)
        told = await self._session.scalar(select(func.count()).select_from(self._reached(wanted).subquery())) or 0
        return await self._count_rest(told) if wanted.rest else told

    async def members(self, wanted: IdSet) -> tuple[int, ColumnElement[bool] | None]:
        """The same count, and when they are few a condition that looks them up one by one."""
        if wanted.rest:
            return await self.count_set(wanted), None
        await self._session.execute(_PLAN_FOR_MANY)
        ids = self._reached(wanted).cte("members", nesting=True).prefix_with("MATERIALIZED")
        number = select(func.count().label("number")).select_from(ids).cte("counted", nesting=True)
        few = case((number.c.number <= _FEW_MEMBERS, func.array(select(ids.c.id).scalar_subquery())))
        count, found = (await self._session.execute(select(number.c.number, few))).one()
        return count, None if found is None else Address.id == func.any(literal(found, ARRAY(BigInteger)))

    async def _count_rest(self, told: int) -> int:
        return await self.usage() - await self.hidden() - told

    async def get(self, address_id: int, *, lock: bool = False) -> Address | None:
        """A live address with its e-mails and tags; `lock` holds it until the end of the transaction."""
        statement = select(Address).where(Address.id == address_id, Address.deleted_at.is_(None), self._visible)
        statement = _with_parts(statement.execution_options(populate_existing=True))
        if lock:
            statement = statement.with_for_update()
        return (await self._session.scalars(statement)).one_or_none()

    async def get_deleted(self, address_id: int, since: datetime, *, lock: bool = False) -> Address | None:
        """An address that was deleted after `since`; `lock` holds it until the end of the transaction."""
        statement = _with_parts(select(Address)).where(
            Address.id == address_id, Address.deleted_at >= since, self._visible
        )
        if lock:
            statement = statement.with_for_update()
        return (await self._session.scalars(statement)).one_or_none()

    async def deleted(self, since: datetime, limit: int) -> Sequence[Address]:
        """What was deleted after `since`, the newest first, without e-mails and tags."""
        statement = select(Address).where(Address.deleted_at >= since, self._visible)
        statement = statement.order_by(Address.deleted_at.desc(), Address.id.desc()).limit(limit)
        return (await self._session.scalars(statement)).all()

    async def count_deleted(self, since: datetime) -> int:
        """How many were deleted after `since`."""
        statement = select(func.count()).select_from(Address).where(Address.deleted_at >= since, self._visible)
        return await self._session.scalar(statement) or 0

    async def add(self, address: Address, tags: Sequence[str]) -> None:
        """Insert a new address."""
        address.tags = await self._tags(tags)
        self._session.add(address)
        await self._session.flush()

    async def replace_parts(self, address: Address, emails: Sequence[str], tags: Sequence[str]) -> None:
        """Exchange the e-mails and tags of a loaded address."""
        address.emails.clear()
        # The old rows must be gone before new ones take their positions.
        await self._session.flush()
        address.emails.extend(email_rows(emails))
        address.tags = await self._tags(tags)
        await self._session.flush()

    async def _tags(self, names: Sequence[str]) -> list[Tag]:
        if not names:
            return []
        keys = {search_form(name): name for name in names}
        # Sorted, so that two transactions that make the same tags wait for each other and do not deadlock.
        values = [{"key": key, "name": keys[key]} for key in sorted(keys)]
        await self._session.execute(insert(Tag).values(values).on_conflict_do_nothing(index_elements=["key"]))
        return list((await self._session.scalars(select(Tag).where(Tag.key.in_(keys)).order_by(Tag.name))).all())

    async def all_tags(self, limit: int) -> Sequence[str]:
        """The names of tags in use, sorted. (How many addresses bear each would be a scan of all of them.)"""
        in_use = (
            select(AddressTag.address_id)
            .join(Address, Address.id == AddressTag.address_id)
            .where(AddressTag.tag_id == Tag.id, Address.deleted_at.is_(None), self._visible)
            .exists()
        )
        return (await self._session.scalars(select(Tag.name).where(in_use).order_by(Tag.name).limit(limit))).all()

    async def reserved(self, names: Sequence[str]) -> set[str]:
        """Keys of those of `names` that are labels which the account may not see."""
        keys = [search_form(name) for name in names]
        statement = select(Tag.key).where(Tag.key.in_(keys), Tag.id.in_(forbidden_labels(self._principal)))
        return set((await self._session.scalars(statement)).all())

    async def bound(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that are labels which keep the account from something: it may not take them off."""
        keys = [search_form(name) for name in names]
        forbids = [Tag.id.in_(forbidden_labels(self._principal, action)) for action in Action]
        statement = select(Tag.name).where(Tag.key.in_(keys), or_(*forbids)).order_by(Tag.name)
        return list(await self._session.scalars(statement)) if keys else []

    async def hidden(self) -> int:
        """How many live addresses the account may not see: found by the index of tags."""
        if self._principal.is_master:
            return 0
        statement = select(func.count()).select_from(Address).where(Address.deleted_at.is_(None), ~self._visible)
        return await self._session.scalar(statement) or 0

    async def usage(self) -> int:
        """The exact number of live addresses, hidden ones too: for the plan's limit."""
        return await self._session.scalar(select(Usage.value).where(Usage.name == "addresses")) or 0

    async def lock_usage(self) -> int:
        """The same, and nobody else can add one before this transaction ends."""
        statement = select(Usage.value).where(Usage.name == "addresses").with_for_update()
        return await self._session.scalar(statement) or 0

    async def mark_deleted(self, address: Address, when: datetime | None) -> None:
        """Delete softly, or with None bring back."""
        await self._session.execute(update(Address).where(Address.id == address.id).values(deleted_at=when))


def email_rows(emails: Sequence[str]) -> list[AddressEmail]:
    """Rows for the e-mails in their order."""
    return [
        AddressEmail(position=position, email=email, email_key=email_key(email))
        for position, email in enumerate(emails)
    ]
