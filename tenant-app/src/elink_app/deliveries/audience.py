"""Who gets a delivery, who not and why: one judgement for the count, for the preview and for the freezing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, insert, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.permissions import Principal
from elink_app.addresses.models import Address, AddressEmail
from elink_app.addresses.visibility import Action, id_visible, restricted, visible
from elink_app.audit.service import Actor
from elink_app.clock import Clock
from elink_app.consent.models import ConsentCurrent, Suppression
from elink_app.deliveries.models import Delivery, DeliveryRecipient
from elink_app.deliveries.schemas import AudienceOutput, LeftOut
from elink_app.deliveries.states import Category, RecipientState
from elink_app.errors import NotFound
from elink_app.segments.compile import segment_select
from elink_app.segments.service import Segments
from elink_app.templates.fields import BUILT_IN, NO, YES
from elink_app.templates.service import custom_fields

EXAMPLES = 200
_NOBODY = {"kind": "any", "of": []}


@dataclass(frozen=True)
class AudienceCount:
    """`recipients` get it; the others of the segment do not: how many by reason, and the first of them."""

    recipients: int
    left_out: dict[str, int] = field(default_factory=dict)
    examples: Sequence[LeftOut] = ()

    def output(self) -> AudienceOutput:
        """For the API."""
        return AudienceOutput(recipients=self.recipients, left_out=dict(self.left_out), examples=list(self.examples))


class Audience:
    """Judges within one transaction and for one account: it sends to nobody whom it may not see."""

    def __init__(self, session: AsyncSession, principal: Principal, clock: Clock) -> None:
        self._session = session
        self._principal = principal
        actor = Actor(principal.account_id, principal.email, "")
        self._segments = Segments(session, principal, actor, clock)

    async def choices(self) -> list[tuple[int, str]]:
        """The segments to choose from, by id and name."""
        return [(segment.id, segment.name) for segment in await self._segments.all()]

    async def segment(self, segment_id: int) -> dict[str, Any] | None:
        """What the segment asks for now; None when there is none that the account may see."""
        try:
            return (await self._segments.get(segment_id)).tree.model_dump(mode="json")
        except NotFound:
            return None

    def visible_recipients(self, action: Action = Action.SEE) -> ColumnElement[bool]:
        """Which recipients the account may see, or export."""
        return id_visible(self._principal, DeliveryRecipient.address_id, action)

    async def hides(self) -> bool:
        """True when there are labels whose addresses the account may not see."""
        return bool(await self._session.scalar(select(restricted(self._principal))))

    async def count(self, row: Delivery) -> AudienceCount:
        """The judgement as it is now."""
        judged = self._judged(row).subquery()
        statement = select(judged.c.reason, func.count()).group_by(judged.c.reason)
        counts = {reason: int(count) for reason, count in (await self._session.execute(statement)).all()}
        recipients = counts.pop("", 0)
        first = (
            select(judged.c.address_id, judged.c.name, judged.c.email, judged.c.reason)
            .where(judged.c.reason != "")
            .order_by(judged.c.reason, judged.c.address_id)
            .limit(EXAMPLES)
        )
        examples = [
            LeftOut(address_id=found[0], name=found[1], email=found[2] or "", reason=found[3])
            for found in await self._session.execute(first)
        ]
        return AudienceCount(recipients, dict(sorted(counts.items())), examples)

    async def freeze(self, row: Delivery, now: datetime) -> int:
        """Write the recipients with the values of their fields, in one statement; returns how many."""
        judged = self._judged(row).subquery()
        custom = await custom_fields(self._session)
        slots = [self._slot(judged, name, custom) for name in row.fields]
        chosen = select(
            literal(row.id), judged.c.address_id, judged.c.email, judged.c.email_key,
            func.jsonb_build_array(*slots), literal(RecipientState.QUEUED.value), literal(now), literal(now),
        ).where(judged.c.reason == "").order_by(judged.c.address_id)  # fmt: skip
        names = ["delivery_id", "address_id", "email", "email_key", "slots", "state", "next_at", "updated_at"]
        await self._session.execute(insert(DeliveryRecipient).from_select(names, chosen, include_defaults=False))
        counted = select(func.count()).select_from(DeliveryRecipient).where(DeliveryRecipient.delivery_id == row.id)
        return await self._session.scalar(counted) or 0

    def _slot(self, judged: Any, name: str, custom: Mapping[str, str]) -> ColumnElement[Any]:
        if name in BUILT_IN:
            return func.coalesce(judged.c[BUILT_IN[name]], "")
        if name not in custom:
            # Deleted since: the default of the placeholder stands in.
            return literal("")
        value = judged.c.attributes[custom[name]]
        words = case((value.astext == "true", YES), else_=NO)
        return case((func.jsonb_typeof(value) == "boolean", words), else_=func.coalesce(value.astext, ""))

    def _judged(self, row: Delivery) -> Select[Any]:
        """Every address of the segment with the reason why it gets nothing; an empty reason is a recipient."""
        first = self._first(row).subquery()
        place = func.row_number().over(partition_by=(first.c.email_key, first.c.blocked), order_by=first.c.address_id)
        reason = case((and_(first.c.blocked == "", place > 1), "duplicate"), else_=first.c.blocked)
        return select(*(column for column in first.c if column.key != "blocked"), reason.label("reason"))

    def _first(self, row: Delivery) -> Select[Any]:
        blocked = case(
            (AddressEmail.email.is_(None), "no_email"),
            *self._rules(row),
            else_="",
        )
        return (
            select(
                Address.id.label("address_id"), Address.name, Address.kana, Address.company, Address.phone,
                Address.postal_code, Address.postal_address, Address.attributes, AddressEmail.email,
                AddressEmail.email_key, blocked.label("blocked"),
            )
            .outerjoin(AddressEmail, and_(AddressEmail.address_id == Address.id, AddressEmail.position == 0))
            .where(
                Address.id.in_(segment_select(row.segment or _NOBODY, self._principal))
            )
        )  # fmt: skip

    def _rules(self, row: Delivery) -> list[tuple[ColumnElement[bool], str]]:
        key = AddressEmail.email_key
        suppressed = exists().where(Suppression.email_key == key, Suppression.lifted_at.is_(None))
        consented = exists().where(ConsentCurrent.email_key == key, ConsentCurrent.kind == "given")
        rules = [(~visible(self._principal, Action.SEND), "label"), (suppressed, "suppressed")]
        return [*rules, (~consented, "no_consent")] if row.category == Category.ADVERT.value else rules
