"""The rules of own fields."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.permissions import Permission, Principal
from elink_app.attributes.models import Attribute
from elink_app.attributes.repository import AttributeRepository
from elink_app.attributes.schemas import (
    MAX_ATTRIBUTES,
    AttributeChange,
    AttributeInput,
    AttributeOutput,
    AttributeType,
    AttributeValues,
)
from elink_app.audit.service import Actor, record
from elink_app.clock import Clock
from elink_app.errors import InvalidInput, NotFound, UsedBySegments
from elink_app.messages import N_
from elink_app.validation import field_error


def to_output(row: Attribute) -> AttributeOutput:
    """A definition as it is shown."""
    return AttributeOutput(
        id=row.id, key=row.key, label=row.label, type=AttributeType(row.type), required=row.required,
        choices=list(row.choices), position=row.position, in_list=row.in_list,
    )  # fmt: skip


async def definitions(db: AsyncSession) -> list[AttributeOutput]:
    """The fields in use, in their order."""
    return [to_output(row) for row in await AttributeRepository(db).all()]


async def values_checker(db: AsyncSession) -> AttributeValues:
    """The checking of values by the definitions as they are now."""
    return AttributeValues(await definitions(db))


class AttributeInUse(UsedBySegments):
    """Segments name the field."""

    code = "attribute-in-use"
    title = N_("Segments use this field")
    advice = N_("Take the field out of these segments first, or they would hold other addresses: %(names)s")


class Attributes:
    """The own fields of one tenant within one transaction."""

    def __init__(
        self, session: AsyncSession, principal: Principal, actor: Actor, clock: Clock, undo_window: timedelta
    ) -> None:
        self._session = session
        self._rows = AttributeRepository(session)
        self._principal = principal
        self._actor = actor
        self._clock = clock
        self._undo_window = undo_window

    async def all(self) -> list[AttributeOutput]:
        """The fields in use, in their order."""
        return [to_output(row) for row in await self._rows.all()]

    async def deleted(self) -> Sequence[AttributeOutput]:
        """What can be brought back with its values."""
        return [to_output(row) for row in await self._rows.deleted(self._since())]

    async def create(self, data: AttributeInput) -> AttributeOutput:
        """Add a field. Addresses that are there already have no value; `required` asks for it at their next save."""
        await self._rows.lock_names()
        if await self._rows.count() >= MAX_ATTRIBUTES:
            raise InvalidInput([field_error(("key",), "too_long", max_length=MAX_ATTRIBUTES)])
        if await self._rows.key_taken(data.key):
            raise InvalidInput([field_error(("key",), "key_taken")])
        self._check_choices(data.type, data)
        row = Attribute(**{**data.model_dump(), "type": data.type.value})
        await self._rows.add(row)
        await self._note("attribute.create", row, after=data.model_dump(mode="json"))
        return to_output(row)

    async def update(self, attribute_id: int, data: AttributeChange) -> AttributeOutput:
        """Change a definition; values stay. Raises NotFound, InvalidInput for a choice that addresses bear."""
        row = await self._get(attribute_id)
        self._check_choices(AttributeType(row.type), data)
        lost = [choice for choice in row.choices if choice not in data.choices]
        for choice in lost:
            if await self._rows.choice_in_use(row.key, choice):
                raise InvalidInput([field_error(("choices",), "choice_in_use", choice=choice)])
        before = to_output(row).model_dump(mode="json")
        for name, value in data.model_dump().items():
            setattr(row, name, value)
        await self._session.flush()
        await self._note("attribute.update", row, before=before, after=data.model_dump(mode="json"))
        return to_output(row)

    async def delete(self, attribute_id: int) -> None:
        """Hide the field and its values at once; they are erased when the undo window is over.

        Raises NotFound, AttributeInUse.
        """
        row = await self._get(attribute_id)
        if (refused := await self._in_use(row)) is not None:
            raise refused
        await self._rows.mark_deleted(row.id, self._clock())
        await self._note("attribute.delete", row, before=to_output(row).model_dump(mode="json"))

    async def restore(self, attribute_id: int) -> AttributeOutput:
        """Bring a deleted field back with its values; raises NotFound when it is too late."""
        row = await self._rows.get(attribute_id, deleted_since=self._since())
        if row is None:
            raise NotFound
        if await self._rows.count() >= MAX_ATTRIBUTES:
            raise InvalidInput([field_error(("key",), "too_long", max_length=MAX_ATTRIBUTES)])
        await self._rows.mark_deleted(row.id, None)
        await self._note("attribute.restore", row)
        return to_output(row)

    async def look(self, attribute_id: int) -> tuple[AttributeOutput, AttributeInUse | None, int | None]:
        """One field, what its deletion would be refused with, and how many addresses have a value.

        None instead of a count for an account that sees no addresses. Raises NotFound.
        """
        row = await self._get(attribute_id)
        sees = self._principal.may(Permission.ADDRESSES_VIEW)
        count = await self._rows.count_bearing(row.key, self._principal) if sees else None
        return to_output(row), await self._in_use(row), count

    async def _in_use(self, row: Attribute) -> AttributeInUse | None:
        naming = await self._rows.segments_naming(row.key, self._principal)
        sees = self._principal.may(Permission.ADDRESSES_VIEW) or self._principal.may(Permission.DELIVERIES_DRAFT)
        return AttributeInUse(naming if sees else []) if naming else None

    def _since(self) -> datetime:
        return self._clock() - self._undo_window

    async def _get(self, attribute_id: int) -> Attribute:
        row = await self._rows.get(attribute_id)
        if row is None:
            raise NotFound
        return row

    @staticmethod
    def _check_choices(kind: AttributeType, data: AttributeChange) -> None:
        if kind is AttributeType.CHOICE and not data.choices:
            raise InvalidInput([field_error(("choices",), "required")])
        if kind is not AttributeType.CHOICE and data.choices:
            raise InvalidInput([field_error(("choices",), "choices_unused")])

    async def _note(
        self, action: str, row: Attribute, *, before: dict[str, object] | None = None,
        after: dict[str, object] | None = None,
    ) -> None:  # fmt: skip
        await record(
            self._session, self._actor, action, kind="attribute", key=row.key, before=before, after=after,
            now=self._clock(),
        )  # fmt: skip
