"""The rules of segments."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.permissions import Principal
from elink_app.addresses.repository import AddressRepository, Filter, Order
from elink_app.addresses.service import to_output as address_output
from elink_app.addresses.visibility import forbidden_labels
from elink_app.attributes.schemas import AttributeOutput, AttributeType
from elink_app.attributes.service import definitions
from elink_app.audit.service import Actor, record
from elink_app.clock import JST, Clock
from elink_app.errors import EditConflict, FieldError, InvalidInput, NotFound
from elink_app.segments.compile import tree_condition, tree_ids
from elink_app.segments.conditions import AttributeCondition, TagCondition, TextCondition
from elink_app.segments.models import Segment
from elink_app.segments.repository import SegmentRepository
from elink_app.segments.schemas import TREE, Group, SegmentInput, SegmentOutput, SegmentPreview, SegmentUpdate
from elink_app.text import search_form
from elink_app.validation import field_error

PREVIEW_SIZE = 50
MAX_SEGMENTS = 500
_ALWAYS = frozenset({"is_set", "not_set"})
_ORDERED = frozenset({"is", "less", "at_most", "more", "at_least"})
_OPERATORS = {
    AttributeType.TEXT: frozenset({"is", "contains"}),
    AttributeType.NUMBER: _ORDERED,
    AttributeType.DATE: _ORDERED,
    AttributeType.CHOICE: frozenset({"is"}),
    AttributeType.YES_NO: frozenset({"is"}),
}


def to_output(row: Segment) -> SegmentOutput:
    """A segment as it is shown."""
    return SegmentOutput(
        id=row.id, version=row.version, name=row.name, tree=TREE.validate_python(row.tree),
        created_at=row.created_at.astimezone(JST), updated_at=row.updated_at.astimezone(JST),
    )  # fmt: skip


def walk(node: Any, path: tuple[str | int, ...] = ("tree",)) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every condition of a tree with its place in the input."""
    if not isinstance(node, Group):
        yield path, node
        return
    for position, part in enumerate(node.of):
        yield from walk(part, (*path, "of", position))


class Segments:
    """The segments of one tenant within one transaction, as one account sees their addresses."""

    def __init__(self, session: AsyncSession, principal: Principal, actor: Actor, clock: Clock) -> None:
        self._session = session
        self._rows = SegmentRepository(session)
        self._addresses = AddressRepository(session, principal)
        self._principal = principal
        self._actor = actor
        self._clock = clock

    async def all(self) -> list[SegmentOutput]:
        """All of them, by name; those about labels that the account may not see are not there."""
        found = [to_output(row) for row in await self._rows.all(MAX_SEGMENTS)]
        wanted = [one.tag_id for row in found for _, one in walk(row.tree) if isinstance(one, TagCondition)]
        hidden = await self._hidden(wanted)
        return [row for row in found if not self._names(row.tree, hidden)]

    async def get(self, segment_id: int) -> SegmentOutput:
        """One of them; raises NotFound."""
        row = await self._rows.get(segment_id) if 0 < segment_id < 2**63 else None
        if row is None:
            raise NotFound
        found = to_output(row)
        wanted = [one.tag_id for _, one in walk(found.tree) if isinstance(one, TagCondition)]
        if self._names(found.tree, await self._hidden(wanted)):
            raise NotFound
        return found

    async def create(self, data: SegmentInput) -> SegmentOutput:
        """Save a new segment; raises InvalidInput."""
        await self._check(data, None)
        now = self._clock()
        tree = data.tree.model_dump(mode="json")
        row = Segment(version=1, name=data.name, key=search_form(data.name), tree=tree, created_at=now, updated_at=now)
        await self._rows.add(row)
        await self._note("segment.create", row, after={"name": row.name, "tree": tree})
        return to_output(row)

    async def update(self, segment_id: int, data: SegmentUpdate) -> SegmentOutput:
        """Replace a segment; raises NotFound, EditConflict, InvalidInput."""
        await self.get(segment_id)
        await self._check(data, segment_id)
        row = await self._rows.get(segment_id, lock=True)
        if row is None:
            raise NotFound
        if data.version is not None and data.version != row.version:
            raise EditConflict
        before = {"name": row.name, "tree": row.tree}
        row.name, row.key, row.tree = data.name, search_form(data.name), data.tree.model_dump(mode="json")
        row.version += 1
        row.updated_at = self._clock()
        await self._session.flush()
        await self._note("segment.update", row, before=before, after={"name": row.name, "tree": row.tree})
        return to_output(row)

    async def delete(self, segment_id: int) -> None:
        """Delete a segment; addresses stay. Raises NotFound."""
        await self.get(segment_id)
        row = await self._rows.get(segment_id, lock=True)
        if row is None:
            raise NotFound
        await self._rows.remove(segment_id)
        await self._note("segment.delete", row, before={"name": row.name, "tree": row.tree})

    async def count(self, tree: Group) -> int:
        """Exactly how many addresses there are that the account may see."""
        return await self._addresses.count_set(tree_ids(tree))

    async def preview(self, tree: Group, size: int = PREVIEW_SIZE) -> SegmentPreview:
        """The count and the first addresses by reading; raises InvalidInput for a tree that names what is not there."""
        self._raise(await self._tree_errors(tree))
        count, few = await self._addresses.members(tree_ids(tree))
        wanted = Filter(condition=tree_condition(tree) if few is None else few)
        found = await self._addresses.page(wanted, Order.KANA, None, size)
        fields = await definitions(self._session)
        items = [address_output(row, fields) for row in found.rows]
        return SegmentPreview(count=count, items=items)

    async def _hidden(self, tag_ids: list[int]) -> set[int]:
        if self._principal.is_master or not tag_ids:
            return set()
        return await self._rows.among(tag_ids, forbidden_labels(self._principal))

    @staticmethod
    def _names(tree: Group, tags: set[int]) -> bool:
        return any(isinstance(one, TagCondition) and one.tag_id in tags for _, one in walk(tree))

    async def _check(self, data: SegmentInput, segment_id: int | None) -> None:
        errors = await self._tree_errors(data.tree)
        await self._rows.lock_names()
        same = await self._rows.by_key(search_form(data.name))
        if same is not None and same.id != segment_id:
            errors.append(field_error(("name",), "name_taken"))
        if segment_id is None and len(await self._rows.all(MAX_SEGMENTS)) >= MAX_SEGMENTS:
            errors.append(field_error(("name",), "too_long", max_length=MAX_SEGMENTS))
        self._raise(errors)

    async def _tree_errors(self, tree: Group) -> list[FieldError]:
        """What the tree names but is not there, or cannot be compared so."""
        errors: list[FieldError] = []
        tags = [(path, one.tag_id) for path, one in walk(tree) if isinstance(one, TagCondition)]
        if tags:
            known = await self._rows.known_tags([one for _, one in tags], forbidden_labels(self._principal))
            errors += [field_error((*path, "tag_id"), "choice") for path, one in tags if one not in known]
        fields = {one.key: one for one in await definitions(self._session)}
        for path, one in walk(tree):
            if isinstance(one, TextCondition) and one.op != "is" and not search_form(one.value):
                # Every text holds nothing: a box that was left empty would mean everybody.
                errors.append(field_error((*path, "value"), "required"))
            if isinstance(one, AttributeCondition):
                errors += _attribute_errors(path, one, fields.get(one.key))
        return errors

    @staticmethod
    def _raise(errors: list[FieldError]) -> None:
        if errors:
            raise InvalidInput(errors)

    async def _note(
        self, action: str, row: Segment, *, before: dict[str, Any] | None = None, after: dict[str, Any] | None = None
    ) -> None:
        await record(
            self._session, self._actor, action, kind="segment", key=str(row.id), before=before, after=after,
            now=self._clock(),
        )  # fmt: skip


def _attribute_errors(
    path: tuple[str | int, ...], condition: AttributeCondition, field: AttributeOutput | None
) -> list[FieldError]:
    if field is None:
        return [field_error((*path, "key"), "choice")]
    if condition.op in _ALWAYS:
        return []
    if condition.op not in _OPERATORS[field.type]:
        return [field_error((*path, "op"), "operator")]
    value = condition.value
    wrong = {
        AttributeType.TEXT: not isinstance(value, str) or not value,
        AttributeType.CHOICE: value not in field.choices,
        AttributeType.YES_NO: not isinstance(value, bool),
        AttributeType.NUMBER: isinstance(value, bool) or not isinstance(value, int | float),
        AttributeType.DATE: not isinstance(value, str) or not _is_date(value),
    }
    codes = {AttributeType.YES_NO: "yes_no", AttributeType.NUMBER: "number", AttributeType.DATE: "date"}
    return [field_error((*path, "value"), codes.get(field.type, "choice"))] if wrong[field.type] else []


def _is_date(value: str) -> bool:
    try:
        return date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False
