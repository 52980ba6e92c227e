"""The rules of a delivery up to its approval. Pages and API call these and nothing else."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.permissions import Principal
from elink_app.addresses.schemas import AddressOutput
from elink_app.addresses.visibility import id_reached
from elink_app.attachments.attachment import Attachment, dump, parse
from elink_app.audit.service import Actor, record
from elink_app.clock import JST, Clock
from elink_app.deliveries.audience import Audience, AudienceCount
from elink_app.deliveries.content import fingerprint
from elink_app.deliveries.draft_models import DeliveryDraft
from elink_app.deliveries.errors import ContentChanged, OwnApproval, WrongState
from elink_app.deliveries.footer import with_footer, with_note_on_clicks
from elink_app.deliveries.mail_limit import count_test_mail
from elink_app.deliveries.models import Delivery, DeliveryRecipient
from elink_app.deliveries.repository import TESTED, DeliveryRepository
from elink_app.deliveries.schemas import (
    AttachmentOutput,
    Counts,
    DeliveryInput,
    DeliveryOutput,
    DeliveryPage,
    DeliveryUpdate,
    EventOutput,
    TestMail,
)
from elink_app.deliveries.states import OPEN, Category, DeliveryState, given_up, may_follow
from elink_app.errors import EditConflict, FieldError, InvalidInput, NotFound
from elink_app.mail.compose import unsubscribe_url
from elink_app.mail.links import find
from elink_app.mail.placeholders import UNSUBSCRIBE_FIELD, field_names
from elink_app.outbox.schemas import SentMail
from elink_app.outbox.service import became_of, enqueue
from elink_app.senders.service import Senders, imprint_of
from elink_app.templates.layout import Layout
from elink_app.templates.schemas import Preview
from elink_app.templates.service import EXAMPLE_TOKEN, Content, Templates, check_content, custom_fields, preview_of
from elink_app.validation import field_error

PAGE_SIZE = 50
_HISTORY = 200
# What the delivery's row keeps as it was written.
_KEPT = ("name", "from_name", "from_address", "reply_to", "subject", "count_clicks")


def _kept_counts(row: Delivery) -> Counts:
    return Counts(
        total=row.total, pending=max(0, row.total - row.ended), accepted=row.accepted, refused=row.refused,
        bounced=row.bounced, skipped=row.skipped, unknown=row.unknown,
    )  # fmt: skip


def _seen_counts(states: Mapping[str, int]) -> Counts:
    """For an account from whom labels hide some of the recipients."""
    ended = {name: states.get(name, 0) for name in ("accepted", "refused", "bounced", "skipped", "unknown")}
    total = sum(states.values())
    return Counts(total=total, pending=total - sum(ended.values()), **ended)


def attachment_output(attachment: Attachment) -> AttachmentOutput:
    """A file as it is shown."""
    return AttachmentOutput(**attachment.shown, media_type=attachment.media_type, kept=attachment.kept)


def attachments_output(row: Delivery) -> list[AttachmentOutput]:
    """The files of a delivery; of one that was given up before anything was sent none is kept."""
    files = [attachment_output(one) for one in parse(row.attachments)]
    if given_up(DeliveryState(row.state), row.started_at):
        return [one.model_copy(update={"kept": False}) for one in files]
    return files


def to_output(row: Delivery, draft: DeliveryDraft, counts: Counts | None = None) -> DeliveryOutput:
    """A delivery as it is shown; `counts` when the account may not see all recipients."""
    times = {
        name: value.astimezone(JST) if (value := getattr(row, name)) is not None else None
        for name in ("made_at", "approved_at", "scheduled_at", "hold_until", "started_at", "finished_at", "updated_at")
    }
    return DeliveryOutput.model_validate(
        {
            **{name: getattr(row, name) for name in (*_KEPT, "id", "version", "state", "state_reason", "category")},
            **times,
            "template_id": draft.template_id,
            "segment_id": draft.segment_id,
            "text_body": draft.text_body,
            "layout": draft.layout,
            "source": draft.source,
            "made_by": row.made_by_name,
            "approved_by": row.approved_by_name,
            "content_sha256": row.content_sha256.hex() if row.content_sha256 else "",
            "attachments": attachments_output(row),
            "counts": counts or _kept_counts(row),
        }
    )  # fmt: skip


class Deliveries:
    """The deliveries of one tenant within one transaction, for the account that asks."""

    def __init__(
        self, session: AsyncSession, clock: Clock, base_url: str, principal: Principal, templates: Templates
    ) -> None:
        self.db = session
        self.rows = DeliveryRepository(session)
        self.clock = clock
        self.base_url = base_url
        self.principal = principal
        self.senders = Senders(session, clock)
        self.audience = Audience(session, principal, clock)
        self._templates = templates

    async def page(self, before: int | None = None, state: str = "", size: int = PAGE_SIZE) -> DeliveryPage:
        """One page, the newest first."""
        rows = await self.rows.page(before, state, size + 1)
        counts = await self._counts([row for row, _ in rows[:size]])
        items = [to_output(row, draft, counts.get(row.id)) for row, draft in rows[:size]]
        return DeliveryPage(items=items, next=items[-1].id if len(rows) > size else None)

    async def get(self, delivery_id: int) -> DeliveryOutput:
        """One delivery; raises NotFound."""
        row, draft = await self.load(delivery_id)
        return to_output(row, draft, (await self._counts([row])).get(row.id))

    async def _counts(self, rows: Sequence[Delivery]) -> dict[int, Counts]:
        """Counts of the recipients whom the account may see, where labels hide any from it; else the kept ones do."""
        frozen = [row.id for row in rows if row.frozen_at is not None]
        if not frozen or not await self.audience.hides():
            return {}
        seen = await self.rows.counts(frozen, id_reached(self.principal, DeliveryRecipient.address_id))
        return {delivery_id: _seen_counts(seen.get(delivery_id, {})) for delivery_id in frozen}

    async def history(self, delivery_id: int) -> Sequence[EventOutput]:
        """Its steps, the newest first; raises NotFound."""
        await self.load(delivery_id)
        left_out = {_MAILS, "recipients"} if await self.audience.hides() else {_MAILS}
        return [
            EventOutput(
                at=event.at.astimezone(JST), actor=event.actor, action=event.action,
                detail=event.detail and {key: event.detail[key] for key in event.detail.keys() - left_out},
            )
            for event in await self.rows.events(delivery_id, _HISTORY)
        ]  # fmt: skip

    async def create(self, actor: Actor, data: DeliveryInput) -> DeliveryOutput:
        """Begin a delivery; raises InvalidInput."""
        now = self.clock()
        row = Delivery(
            version=1, state=DeliveryState.DRAFT.value, name=data.name, made_by=actor.account_id,
            made_by_name=actor.name[:100], made_at=now,
        )  # fmt: skip
        filled = await self._from_template(data)
        content = await self._check(filled)
        await self.rows.add(row)
        await self._keep(row.id, filled, content, {})
        return await self.step(actor, row.id, "made")

    async def update(self, actor: Actor, delivery_id: int, data: DeliveryUpdate) -> DeliveryOutput:
        """Replace what was written; an approval or a request for one is taken back.

        Raises NotFound, InvalidInput, WrongState once it is on its way, EditConflict when `data.version` is old.
        """
        row = await self.hold(delivery_id, OPEN)
        if data.version is not None and data.version != row.version:
            raise EditConflict
        content = await self._check(data)
        await self._keep(row.id, data, content, {**_UNAPPROVED, "version": row.version + 1})
        return await self.step(actor, row.id, "saved")

    async def change_attachments(
        self, actor: Actor, row: Delivery, attachments: Sequence[Attachment], action: str, changed: Attachment
    ) -> DeliveryOutput:
        """Replace the files of a delivery that `hold` gave. As any save, it takes an approval back; of one that has
        ended, what was approved stays approved."""
        saved = {**_UNAPPROVED, "version": row.version + 1} if DeliveryState(row.state) in OPEN else {}
        await self.rows.change(row.id, {**saved, "attachments": dump(attachments), "updated_at": self.clock()})
        return await self.step(
            actor, row.id, action, file=changed.name, size=changed.size, sha256=changed.sha256
        )  # fmt: skip

    async def hold(self, delivery_id: int, states: Collection[DeliveryState]) -> Delivery:
        """The row, held, while it is in one of `states`. Raises NotFound, WrongState."""
        row, _ = await self.load(delivery_id, lock=True)
        if DeliveryState(row.state) not in states:
            raise WrongState
        return row

    async def request(self, actor: Actor, delivery_id: int) -> DeliveryOutput:
        """Put the content up for approval, or approve it at once where the settings ask for none.

        The footer and the segment are taken as they are now, and frozen with the rest. Raises NotFound, WrongState,
        InvalidInput for what is still missing.
        """
        row, draft = await self.load(delivery_id, lock=True)
        if DeliveryState(row.state) is not DeliveryState.DRAFT:
            raise WrongState
        data = _input(row, draft)
        content = await self._check(data)
        settings = await self.senders.settings()
        missing = await self._missing(data, content)
        if missing:
            raise InvalidInput(missing)
        await self._keep(row.id, data, content, {"version": row.version + 1})
        row, _ = await self.load(delivery_id, lock=True)
        state = DeliveryState.AWAITING_APPROVAL if settings.approval_required else DeliveryState.APPROVED
        await self.move(row, state, content_sha256=fingerprint(_content(row)))
        files = {"attachments": [one.shown for one in parse(row.attachments)]} if row.attachments else {}
        return await self.step(actor, row.id, "requested", content=fingerprint(_content(row)).hex(), **files)

    async def approve(self, actor: Actor, delivery_id: int, content_sha256: str) -> DeliveryOutput:
        """Approve what has this fingerprint. Raises NotFound, WrongState, OwnApproval, ContentChanged."""
        row, _ = await self.load(delivery_id, lock=True)
        if DeliveryState(row.state) is not DeliveryState.AWAITING_APPROVAL:
            raise WrongState
        if await self.rows.is_author(row.id, self.principal.account_id):
            raise OwnApproval
        self.require_content(row)
        if not hmac.compare_digest((row.content_sha256 or b"").hex().encode(), content_sha256.lower().encode()):
            raise ContentChanged
        await self.move(
            row, DeliveryState.APPROVED, approved_by=actor.account_id, approved_by_name=actor.name[:100],
            approved_at=self.clock(),
        )  # fmt: skip
        return await self.step(actor, row.id, "approved", content=content_sha256.lower())

    async def reject(self, actor: Actor, delivery_id: int, reason: str) -> DeliveryOutput:
        """Send it back to its author, or take an approval back. Raises NotFound, WrongState."""
        row, _ = await self.load(delivery_id, lock=True)
        if DeliveryState(row.state) not in (DeliveryState.AWAITING_APPROVAL, DeliveryState.APPROVED):
            raise WrongState
        await self.move(row, DeliveryState.DRAFT, **{k: v for k, v in _UNAPPROVED.items() if k != "state"})
        return await self.step(actor, row.id, "rejected", reason=reason)

    async def count(self, delivery_id: int) -> AudienceCount:
        """Who would get it now, and who not and why; raises NotFound, InvalidInput without a segment."""
        row, draft = await self.load(delivery_id)
        if draft.segment_id is None or row.segment is None:
            raise InvalidInput([field_error(("segment_id",), "segment_missing")])
        return await self.audience.count(row)

    async def preview(self, delivery_id: int, address: AddressOutput | None) -> Preview:
        """Both parts, footer included, as `address` (None: an example) would see them; raises NotFound."""
        row, _ = await self.load(delivery_id)
        return await self.preview_of(row, address)

    async def preview_of(self, row: Delivery, address: AddressOutput | None) -> Preview:
        """The same for a row at hand."""
        link = unsubscribe_url(self.base_url, EXAMPLE_TOKEN)
        content = Content(row.subject, row.text_body, row.html_body)
        return preview_of(content, address, await custom_fields(self.db), link)

    async def send_test(self, actor: Actor, delivery_id: int, data: TestMail, address: AddressOutput | None) -> int:
        """Write test mails to the outbox; returns how many. `tests` tells what became of them.

        Raises NotFound, InvalidInput for an empty content, TooManyTestMails.
        """
        row, _ = await self.load(delivery_id)
        if not row.subject or not row.text_body:
            raise InvalidInput([field_error(("subject" if not row.subject else "text_body",), "required")])
        await count_test_mail(self.db, actor, self.clock())
        shown = await self.preview_of(row, address)
        mails = [
            await enqueue(
                self.db, to=email, subject=f"[テスト] {shown.subject}", text=shown.text, html=shown.html,
                kind="test-mail", attachments=parse(row.attachments),
            )
            for email in data.to
        ]  # fmt: skip
        await self.step(actor, row.id, TESTED, {_MAILS: mails}, addresses=len(mails))
        return len(mails)

    async def tests(self, delivery_id: int) -> Sequence[SentMail]:
        """What became of the caller's last test mails; raises NotFound. Nobody else learns where they went."""
        await self.load(delivery_id)
        last = await self.rows.newest_test(delivery_id, self.principal.account_id)
        return await became_of(self.db, (last.detail or {}).get(_MAILS, []) if last is not None else [])

    async def load(self, delivery_id: int, *, lock: bool = False) -> tuple[Delivery, DeliveryDraft]:
        """The rows; raises NotFound."""
        found = await self.rows.get(delivery_id, lock=lock)
        if found is None:
            raise NotFound
        return found

    def require_content(self, row: Delivery) -> None:
        """Raises ContentChanged when the row is not what was put up for approval."""
        if row.content_sha256 is None or not hmac.compare_digest(row.content_sha256, fingerprint(_content(row))):
            raise ContentChanged

    async def move(self, row: Delivery, state: DeliveryState, **values: Any) -> None:
        """One step of `states`; raises WrongState for one that there is not. The row is held."""
        if not may_follow(DeliveryState(row.state), state):
            raise WrongState
        await self.rows.change(row.id, {"state": state.value, "state_reason": "", **values, "updated_at": self.clock()})

    async def step(
        self, actor: Actor, delivery_id: int, action: str, kept: dict[str, Any] | None = None, /, **detail: Any
    ) -> DeliveryOutput:
        """Write the step into the history (with `kept`, which nobody is shown) and the audit log; the delivery as it is
        now."""
        now = self.clock()
        noted = {**detail, **(kept or {})} or None
        await self.rows.remember(delivery_id, action, actor.account_id, actor.name, now, noted)
        row, draft = await self.load(delivery_id)
        after = {"name": row.name, "state": row.state, **({"count_clicks": True} if row.count_clicks else {}), **detail}
        await record(self.db, actor, f"delivery.{action}", kind="delivery", key=str(delivery_id), after=after, now=now)
        return to_output(row, draft, (await self._counts([row])).get(row.id))

    async def _from_template(self, data: DeliveryInput) -> DeliveryInput:
        if data.template_id is None or data.subject or data.text_body or data.source:
            return data
        try:
            template = await self._templates.get(data.template_id)
        except NotFound:
            raise InvalidInput([field_error(("template_id",), "choice")]) from None
        names = {"subject", "text_body", "layout", "source"}
        return data.model_copy(update={name: getattr(template, name) for name in names})

    async def _check(self, data: DeliveryInput) -> Content:
        errors: list[FieldError] = []
        if data.from_address and not await self.senders.is_allowed(data.from_address):
            errors.append(field_error(("from_address",), "sender_not_allowed"))
        if data.segment_id is not None and await self.audience.segment(data.segment_id) is None:
            errors.append(field_error(("segment_id",), "choice"))
        known = await self._templates.known_fields()
        try:
            content = await check_content(
                data.subject, data.text_body, data.layout, data.source, known=known, base_url=self.base_url
            )
        except InvalidInput as error:
            raise InvalidInput([*errors, *error.errors]) from None
        if errors:
            raise InvalidInput(errors)
        return content

    async def _missing(self, data: DeliveryInput, content: Content) -> list[FieldError]:
        empty = [name for name in ("subject", "from_address") if not getattr(data, name)]
        errors = [field_error((name,), "required") for name in empty]
        if not content.text:
            errors.append(field_error(("text_body",), "required"))
        if data.segment_id is None:
            errors.append(field_error(("segment_id",), "segment_missing"))
        if data.category is Category.ADVERT and not (await self.senders.settings()).complete:
            errors.append(field_error(("category",), "imprint_incomplete"))
        return errors

    async def _keep(self, delivery_id: int, data: DeliveryInput, content: Content, values: dict[str, Any]) -> None:
        text, html = content.text, content.html
        if data.count_clicks and find(text, html).counted:
            text, html = with_note_on_clicks(text, html)
        if data.category is Category.ADVERT:
            text, html = with_footer(text, html, imprint_of(await self.senders.settings()))
        segment = await self.audience.segment(data.segment_id) if data.segment_id is not None else None
        names = [name for name in field_names((data.subject, text, html)) if name != UNSUBSCRIBE_FIELD]
        await self.rows.change(
            delivery_id,
            {
                **{name: getattr(data, name) for name in _KEPT},
                "category": data.category.value,
                "text_body": text,
                "html_body": html,
                "segment": segment,
                "fields": names,
                "updated_at": self.clock(),
                **values,
            },
        )
        await self.rows.save_draft(
            delivery_id,
            {
                "template_id": data.template_id,
                "segment_id": data.segment_id,
                "text_body": data.text_body,
                "layout": data.layout.value,
                "source": data.source,
            },
        )


# Ids of the mails in the outbox, in the history's line of a test.
_MAILS = "mails"
_UNAPPROVED: dict[str, Any] = {
    "state": DeliveryState.DRAFT.value,
    "content_sha256": None,
    "approved_by": None,
    "approved_by_name": "",
    "approved_at": None,
}


def _content(row: Delivery) -> Any:
    return row


def _input(row: Delivery, draft: DeliveryDraft) -> DeliveryInput:
    return DeliveryInput.model_construct(
        **{name: getattr(row, name) for name in _KEPT}, category=Category(row.category),
        template_id=draft.template_id, segment_id=draft.segment_id, text_body=draft.text_body,
        layout=Layout(draft.layout), source=draft.source,
    )  # fmt: skip
