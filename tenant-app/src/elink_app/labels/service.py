"""The rules of tags and information labels. Only the master makes a label, changes its rights or takes it away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.permissions import Principal
from elink_app.addresses.models import LabelRight, Tag
from elink_app.addresses.visibility import Action
from elink_app.audit.service import Actor, record
from elink_app.clock import Clock
from elink_app.errors import Forbidden, InvalidInput, NotFound, UsedBySegments
from elink_app.labels.repository import LabelRepository
from elink_app.labels.schemas import LabelInput, Rights, TagInput, TagOutput
from elink_app.messages import N_
from elink_app.roles.repository import RoleRepository
from elink_app.text import search_form
from elink_app.validation import field_error

MAX_LISTED = 1000


class TagInUse(UsedBySegments):
    """Segments name the tag."""

    code = "tag-in-use"
    title = N_("Segments use this tag")
    advice = N_("Take the tag out of these segments first, or they would hold other addresses: %(names)s")


class Labels:
    """The tags of one tenant within one transaction, as one account sees them."""

    def __init__(self, session: AsyncSession, principal: Principal, actor: Actor, clock: Clock) -> None:
        self._session = session
        self._rows = LabelRepository(session, principal)
        self._principal = principal
        self._actor = actor
        self._clock = clock

    async def all(self) -> list[TagOutput]:
        """Tags by name, 1000 at most."""
        tags = await self._rows.all(MAX_LISTED)
        rights: dict[int, list[LabelRight]] = {}
        if self._principal.is_master:
            for right in await self._rows.rights([tag.id for tag in tags if tag.is_label]):
                rights.setdefault(right.tag_id, []).append(right)
        return [self._output(tag, rights.get(tag.id, [])) for tag in tags]

    async def counts(self, tags: Sequence[TagOutput]) -> dict[int, int]:
        """How many addresses that the account may see bear each of these."""
        return await self._rows.counts([tag.id for tag in tags])

    async def get(self, tag_id: int) -> TagOutput:
        """One tag; raises NotFound."""
        tag = await self._get(tag_id)
        return self._output(tag, list(await self._rows.rights([tag.id])) if tag.is_label else [])

    async def create(self, data: TagInput) -> TagOutput:
        """A new tag; raises InvalidInput when the name is taken."""
        tag = await self._rows.add(data.name, search_form(data.name))
        if tag is None:
            raise InvalidInput([field_error(("name",), "name_taken")])
        await self._note("tag.create", tag, after={"name": data.name})
        return await self.get(tag.id)

    async def rename(self, tag_id: int, data: TagInput) -> TagOutput:
        """Another name for a tag, on all its addresses; raises NotFound, InvalidInput."""
        tag = await self._changeable(tag_id)
        key = search_form(data.name)
        if await self._rows.key_taken(key, tag.id):
            raise InvalidInput([field_error(("name",), "name_taken")])
        before = {"name": tag.name}
        tag.name, tag.key = data.name, key
        await self._session.flush()
        await self._note("tag.rename", tag, before=before, after={"name": data.name})
        return await self.get(tag_id)

    async def set_label(self, tag_id: int, data: LabelInput) -> TagOutput:
        """Make a tag a label with these rights, or a plain tag again.

        Raises NotFound, Forbidden, InvalidInput for a role that does not exist.
        """
        if not self._principal.is_master:
            raise Forbidden
        tag = await self._get(tag_id)
        before = (await self.get(tag_id)).model_dump()
        named = {Action.SEE: data.see, Action.EXPORT: data.export, Action.SEND: data.send}
        existing = {role.id for role in await RoleRepository(self._session).lock({*data.see, *data.export, *data.send})}
        wrong = [action.value for action, roles in named.items() if not existing.issuperset(roles)]
        if wrong:
            raise InvalidInput([field_error((action,), "role") for action in wrong])
        tag.is_label = data.is_label
        await self._session.flush()
        rights = [(action.value, role) for action, roles in named.items() for role in roles]
        await self._rows.set_rights(tag_id, rights if data.is_label else [])
        found = await self.get(tag_id)
        await self._note("tag.label", tag, before=before, after=found.model_dump())
        return found

    async def delete(self, tag_id: int) -> None:
        """Take a tag from all addresses and remove it; addresses stay.

        Raises NotFound, Forbidden for a label, TagInUse.
        """
        tag = await self._changeable(tag_id)
        if (refused := await self._in_use(tag_id)) is not None:
            raise refused
        await self._rows.remove(tag_id)
        await self._note("tag.delete", tag, before={"name": tag.name, "is_label": tag.is_label})

    async def look(self, tag_id: int) -> tuple[TagOutput, TagInUse | None, int]:
        """A tag that may be changed, what its deletion would be refused with, how many visible addresses bear it.

        Raises NotFound, Forbidden for a label.
        """
        tag = self._output(await self._changeable(tag_id), [])
        return tag, await self._in_use(tag_id), (await self.counts([tag]))[tag_id]

    async def _in_use(self, tag_id: int) -> TagInUse | None:
        naming = await self._rows.segments_naming(tag_id)
        return TagInUse(naming) if naming else None

    async def _get(self, tag_id: int) -> Tag:
        tag = await self._rows.get(tag_id) if 0 < tag_id < 2**63 else None
        if tag is None:
            raise NotFound
        return tag

    async def _changeable(self, tag_id: int) -> Tag:
        tag = await self._get(tag_id)
        if tag.is_label and not self._principal.is_master:
            raise Forbidden
        return tag

    def _output(self, tag: Tag, rights: list[LabelRight]) -> TagOutput:
        shown = None
        if tag.is_label and self._principal.is_master:
            by_action = {action: [one.role_id for one in rights if one.action == action] for action in Action}
            shown = Rights(see=by_action[Action.SEE], export=by_action[Action.EXPORT], send=by_action[Action.SEND])
        return TagOutput(id=tag.id, name=tag.name, is_label=tag.is_label, rights=shown)

    async def _note(
        self, action: str, tag: Tag, *, before: dict[str, Any] | None = None, after: dict[str, Any] | None = None
    ) -> None:
        await record(
            self._session, self._actor, action, kind="tag", key=str(tag.id), before=before, after=after,
            now=self._clock(),
        )  # fmt: skip
