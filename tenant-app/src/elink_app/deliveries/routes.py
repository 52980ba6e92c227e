"""Pages of deliveries up to their approval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import ValidationError
from starlette.datastructures import FormData
from starlette.responses import Response

from elink_app.accounts.permissions import Permission, Principal
from elink_app.addresses.deps import BookDep
from elink_app.attachments.rules import ENDINGS
from elink_app.clicks.counts import links_output
from elink_app.deliveries.calendar import next_business_morning
from elink_app.deliveries.deps import DeliveriesDep, MayApprove, MayDraft, MaySee, MaySeePeople
from elink_app.deliveries.errors import WrongState
from elink_app.deliveries.running import Running
from elink_app.deliveries.schemas import (
    NAME_LENGTH,
    AttachmentOutput,
    DeliveryInput,
    DeliveryOutput,
    DeliveryUpdate,
    Rejection,
    TestMail,
)
from elink_app.deliveries.service import Deliveries
from elink_app.deliveries.states import DeliveryState
from elink_app.errors import AppError, EditConflict, InvalidInput, NotFound
from elink_app.jobs.deps import wake_after
from elink_app.messages import N_, Message
from elink_app.sentforms.deps import OnceDep
from elink_app.templates.deps import TemplatesDep
from elink_app.templates.routes import chosen_address, preview_page
from elink_app.validation import field_errors
from elink_app.web import pages, previews
from elink_app.web.deps import ActorDep
from elink_app.web.forms import field, read_form
from elink_app.web.state import state_of, translator_of

router = APIRouter(include_in_schema=False, prefix="/deliveries")

Id = Annotated[int, Path(ge=1, le=2**63 - 1)]
OptionalId = Annotated[int | None, Query(ge=1, le=2**63 - 1)]
_FIELDS = (
    "name", "category", "from_name", "from_address", "reply_to", "segment_id", "subject", "text_body", "layout",
    "source", "template_id",
)  # fmt: skip
Wrong = ValidationError | InvalidInput


def errors_of(error: Wrong) -> pages.FormErrors:
    """The errors of a form, whoever found them."""
    return pages.FormErrors(error.errors if isinstance(error, InvalidInput) else field_errors(error.errors()))


@router.get("")
async def delivery_list(
    request: Request,
    principal: MaySee,
    deliveries: DeliveriesDep,
    before: OptionalId = None,
    state: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """Deliveries, the newest first."""
    known = state if state in set(DeliveryState) else ""
    return pages.render(
        request,
        "deliveries.html",
        principal=principal,
        page=await deliveries.page(before, known),
        before=before,
        state=known,
        states=list(DeliveryState),
    )


@router.get("/new")
async def new_form(
    request: Request,
    principal: MayDraft,
    deliveries: DeliveriesDep,
    templates: TemplatesDep,
    template: OptionalId = None,
    copy: OptionalId = None,
) -> Response:
    """An empty form, one with the texts of a template, or one with all that another delivery says but its files."""
    if copy is not None:
        like = await deliveries.get(copy)
        name = translator_of(request).text(Message(N_("Copy of %(name)s"), {"name": like.name}))
        copied = {**_values(like), "name": name[:NAME_LENGTH], "version": ""}
        return await _form(request, principal, deliveries, templates, None, copied, without=like.attachments)
    values: dict[str, Any] = {
        **dict.fromkeys(_FIELDS, ""),
        "category": "notice",
        "layout": "none",
        "version": "",
        "count_clicks": "",
    }
    if template is not None:
        found = await templates.get(template)
        values |= found.model_dump(mode="json", include={"subject", "text_body", "layout", "source"})
        values["template_id"] = str(template)
    return await _form(request, principal, deliveries, templates, None, values)


@router.post("")
async def create(
    request: Request, principal: MayDraft, actor: ActorDep, deliveries: DeliveriesDep, templates: TemplatesDep,
    once: OnceDep,
) -> Response:  # fmt: skip
    """Begin a delivery."""
    form = await read_form(request)
    try:
        made = await deliveries.create(actor, DeliveryInput.model_validate(_input(form, with_version=False)))
    except (ValidationError, InvalidInput) as error:
        return await _form(
            request, principal, deliveries, templates, None, _typed(form), errors=errors_of(error), status=422
        )
    return await once.redirect(f"/deliveries/{made.id}?notice=saved")


@router.get("/{delivery_id}")
async def delivery(
    request: Request,
    principal: MaySee,
    deliveries: DeliveriesDep,
    delivery_id: Id,
    notice: str = "",
    watch: Annotated[str, Query(max_length=1)] = "",
) -> Response:
    """Where the delivery stands and what can be done now."""
    return await show(request, principal, deliveries, delivery_id, notice=notice, watch=watch == "1")


async def show(
    request: Request,
    principal: Principal,
    deliveries: Deliveries,
    delivery_id: int,
    *,
    errors: pages.FormErrors | None = None,
    problem: Message | None = None,
    typed: dict[str, str] | None = None,
    notice: str = "",
    watch: bool = False,
    status: int = 200,
) -> Response:
    """The page of one delivery."""
    found = await deliveries.get(delivery_id)
    may_release = principal.may(Permission.DELIVERIES_SEND) and found.state is DeliveryState.APPROVED
    return pages.render(
        request,
        "delivery.html",
        principal=principal,
        status=status,
        delivery=found,
        history=await deliveries.history(delivery_id),
        settings=await deliveries.senders.settings(),
        own=await deliveries.rows.is_author(delivery_id, principal.account_id),
        audience=await deliveries.count(delivery_id) if may_release and found.segment_id else None,
        links=await links_output(deliveries, delivery_id) if found.count_clicks else None,
        unknown=await Running(deliveries).unknown(delivery_id) if principal.may(Permission.DELIVERIES_SEND) else 0,
        tests=await deliveries.tests(delivery_id) if principal.may(Permission.DELIVERIES_DRAFT) else [],
        business_morning=next_business_morning(deliveries.clock()),
        errors=errors or pages.FormErrors(),
        problem=problem,
        typed=typed or {},
        attachments_limit=state_of(request).settings.attachments_limit_bytes,
        endings=ENDINGS,
        notice_name=notice,
        watch=watch,
    )


@router.get("/{delivery_id}/edit")
async def edit_form(
    request: Request, principal: MayDraft, deliveries: DeliveriesDep, templates: TemplatesDep, delivery_id: Id
) -> Response:
    """The form with what is saved."""
    found = await deliveries.get(delivery_id)
    return await _form(request, principal, deliveries, templates, found, _values(found))


@router.post("/{delivery_id}")
async def save(
    request: Request, principal: MayDraft, actor: ActorDep, deliveries: DeliveriesDep, templates: TemplatesDep,
    delivery_id: Id, once: OnceDep,
) -> Response:  # fmt: skip
    """Save what was written; an approval is taken back by it."""
    form = await read_form(request)
    saved = await deliveries.get(delivery_id)
    try:
        await deliveries.update(actor, delivery_id, DeliveryUpdate.model_validate(_input(form, with_version=True)))
    except (ValidationError, InvalidInput) as error:
        return await _form(
            request, principal, deliveries, templates, saved, _typed(form), errors=errors_of(error), status=422
        )
    except (EditConflict, WrongState) as error:
        values = {**_typed(form), "version": str(saved.version)}
        return await _form(
            request, principal, deliveries, templates, saved, values, problem=error.detail, status=error.status
        )
    return await once.redirect(f"/deliveries/{delivery_id}?notice=saved")


@router.get("/{delivery_id}/content")
async def content(
    request: Request,
    principal: MaySee,
    deliveries: DeliveriesDep,
    book: BookDep,
    delivery_id: Id,
    address: OptionalId = None,
    q: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Both parts, footer included, as one person would see them."""
    found = await deliveries.get(delivery_id)
    person = await chosen_address(principal, book, address)
    shown = await deliveries.preview(delivery_id, person)
    return await preview_page(request, principal, book, found.name, f"/deliveries/{delivery_id}", shown, person, q)


@router.get("/{delivery_id}/content/frame")
async def content_frame(
    principal: MaySee, deliveries: DeliveriesDep, book: BookDep, delivery_id: Id, address: OptionalId = None
) -> Response:
    """The HTML part, for the frame in the preview."""
    return previews.frame((await deliveries.preview(delivery_id, await chosen_address(principal, book, address))).html)


@router.get("/{delivery_id}/audience")
async def audience(request: Request, principal: MaySeePeople, deliveries: DeliveriesDep, delivery_id: Id) -> Response:
    """Exactly how many would get it, and who not and why."""
    found = await deliveries.get(delivery_id)
    if found.segment_id is None:
        raise NotFound
    return pages.render(
        request,
        "delivery_audience.html",
        principal=principal,
        delivery=found,
        audience=await deliveries.count(delivery_id),
    )


@router.post("/{delivery_id}/test")
async def send_test(
    request: Request, principal: MayDraft, actor: ActorDep, deliveries: DeliveriesDep, delivery_id: Id, once: OnceDep
) -> Response:
    """Send test mails."""
    typed = field(await read_form(request), "to")
    try:
        data = TestMail.model_validate({"to": typed.replace(",", " ").replace("、", " ").split()})
        await deliveries.send_test(actor, delivery_id, data, None)
    except (ValidationError, InvalidInput) as error:
        return await show(
            request, principal, deliveries, delivery_id, errors=errors_of(error), typed={"to": typed}, status=422
        )
    answer = await once.redirect(f"/deliveries/{delivery_id}?notice=tested")
    answer.background = wake_after(request)
    return answer


@router.post("/{delivery_id}/request")
async def request_approval(
    request: Request, principal: MayDraft, actor: ActorDep, deliveries: DeliveriesDep, delivery_id: Id
) -> Response:
    """Put it up for approval."""
    try:
        await deliveries.request(actor, delivery_id)
    except AppError as error:
        return await refused(request, principal, deliveries, delivery_id, error)
    return pages.redirect(f"/deliveries/{delivery_id}?notice=requested")


@router.post("/{delivery_id}/approve")
async def approve(
    request: Request, principal: MayApprove, actor: ActorDep, deliveries: DeliveriesDep, delivery_id: Id
) -> Response:
    """Approve what was shown."""
    form = await read_form(request)
    try:
        await deliveries.approve(actor, delivery_id, field(form, "content_sha256")[:64])
    except AppError as error:
        return await refused(request, principal, deliveries, delivery_id, error)
    return pages.redirect(f"/deliveries/{delivery_id}?notice=approved")


@router.post("/{delivery_id}/reject")
async def reject(
    request: Request, principal: MayApprove, actor: ActorDep, deliveries: DeliveriesDep, delivery_id: Id
) -> Response:
    """Send it back to its author."""
    form = await read_form(request)
    try:
        data = Rejection.model_validate({"reason": field(form, "reason")})
        await deliveries.reject(actor, delivery_id, data.reason)
    except ValidationError as error:
        return await show(request, principal, deliveries, delivery_id, errors=errors_of(error), status=422)
    except AppError as error:
        return await refused(request, principal, deliveries, delivery_id, error)
    return pages.redirect(f"/deliveries/{delivery_id}?notice=rejected")


async def refused(
    request: Request, principal: Principal, deliveries: Deliveries, delivery_id: int, error: AppError
) -> Response:
    """The page of the delivery with the reason why nothing was done."""
    if isinstance(error, NotFound):
        raise error
    errors = pages.FormErrors(error.errors) if isinstance(error, InvalidInput) else None
    return await show(
        request, principal, deliveries, delivery_id, errors=errors, problem=error.detail, status=error.status
    )


def _values(found: DeliveryOutput) -> dict[str, Any]:
    values = found.model_dump(mode="json", include={*_FIELDS, "version"})
    shown = {name: "" if value is None else str(value) for name, value in values.items()}
    return {**shown, "count_clicks": "1" if found.count_clicks else ""}


def _typed(form: FormData) -> dict[str, Any]:
    return {name: field(form, name) for name in (*_FIELDS, "version", "count_clicks")}


def _input(form: FormData, *, with_version: bool) -> dict[str, Any]:
    values: dict[str, Any] = {name: field(form, name) for name in _FIELDS}
    values["count_clicks"] = bool(field(form, "count_clicks"))
    for name in ("segment_id", "template_id"):
        values[name] = values[name] or None
    version = field(form, "version")
    if with_version and version.isascii() and version.isdigit() and 0 < int(version[:19]) < 2**63:
        values["version"] = int(version[:19])
    return values


async def _form(
    request: Request,
    principal: Principal,
    deliveries: Deliveries,
    templates: TemplatesDep,
    saved: DeliveryOutput | None,
    values: dict[str, Any],
    *,
    errors: pages.FormErrors | None = None,
    problem: Message | None = None,
    without: Sequence[AttachmentOutput] = (),
    status: int = 200,
) -> Response:
    return pages.render(
        request,
        "delivery_form.html",
        principal=principal,
        status=status,
        delivery=saved,
        values=values,
        errors=errors or pages.FormErrors(),
        problem=problem,
        without=without,
        sender_choices=[(row.email, row.email) for row in await deliveries.senders.addresses()],
        segments=await deliveries.audience.choices(),
        templates=[] if saved else await templates.all(),
        fields=sorted(await templates.known_fields()),
    )
