"""`/api/v1/deliveries`: the same rules as the pages, as JSON."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Path, Query, Response, status

from elink_app.addresses.deps import BookDep
from elink_app.clicks.counts import links_output
from elink_app.clicks.schemas import LinksOutput
from elink_app.deliveries.deps import DeliveriesDep, MayApprove, MayDraft, MaySee, MaySeePeople, MaySend, RunningDep
from elink_app.deliveries.schemas import (
    Approval,
    AudienceOutput,
    DeliveryInput,
    DeliveryOutput,
    DeliveryPage,
    DeliveryUpdate,
    EventOutput,
    RecipientPage,
    Rejection,
    Release,
    Resend,
    Resume,
    TestMail,
)
from elink_app.deliveries.states import DeliveryState, RecipientState
from elink_app.outbox.schemas import SentMails
from elink_app.templates.routes import chosen_address
from elink_app.templates.schemas import Preview
from elink_app.web.deps import ActorDep, StateDep, TenantDep
from elink_app.web.openapi import problems

router = APIRouter(prefix="/api/v1/deliveries", tags=["deliveries"], responses=problems(401, 403, 503))

Id = Annotated[int, Path(ge=1, le=2**63 - 1, examples=[1])]
OptionalId = Annotated[int | None, Query(ge=1, le=2**63 - 1)]


@router.get("", responses=problems(422))
async def list_deliveries(
    _principal: MaySee,
    deliveries: DeliveriesDep,
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="`next` of an earlier page")] = None,
    state: DeliveryState | None = None,
    size: Annotated[int, Query(ge=1, le=200)] = 50,
) -> DeliveryPage:
    """Deliveries, the newest first."""
    return await deliveries.page(before, state.value if state else "", size)


@router.post("", status_code=status.HTTP_201_CREATED, responses=problems(422))
async def create_delivery(
    _principal: MayDraft, actor: ActorDep, deliveries: DeliveriesDep, data: DeliveryInput, response: Response
) -> DeliveryOutput:
    """Begin a delivery. Nothing is sent before it was put up, approved and released."""
    made = await deliveries.create(actor, data)
    response.headers["Location"] = f"/api/v1/deliveries/{made.id}"
    return made


@router.get("/{delivery_id}", responses=problems(404, 422))
async def get_delivery(_principal: MaySee, deliveries: DeliveriesDep, delivery_id: Id) -> DeliveryOutput:
    """One delivery."""
    return await deliveries.get(delivery_id)


@router.put("/{delivery_id}", responses=problems(404, 409, 422))
async def update_delivery(
    _principal: MayDraft, actor: ActorDep, deliveries: DeliveriesDep, delivery_id: Id, data: DeliveryUpdate
) -> DeliveryOutput:
    """Replace what was written. An approval is taken back by it."""
    return await deliveries.update(actor, delivery_id, data)


@router.get("/{delivery_id}/preview", responses=problems(404, 422))
async def preview(
    principal: MaySee, deliveries: DeliveriesDep, book: BookDep, delivery_id: Id, address: OptionalId = None
) -> Preview:
    """Both parts as one person (else an example) would see them."""
    return await deliveries.preview(delivery_id, await chosen_address(principal, book, address))


@router.get("/{delivery_id}/audience", responses=problems(404, 422))
async def audience(_principal: MaySeePeople, deliveries: DeliveriesDep, delivery_id: Id) -> AudienceOutput:
    """Exactly how many would get it now, and who of the segment not and why."""
    return (await deliveries.count(delivery_id)).output()


@router.post("/{delivery_id}/test", status_code=status.HTTP_202_ACCEPTED, responses=problems(404, 422, 429))
async def send_test(
    principal: MayDraft, actor: ActorDep, deliveries: DeliveriesDep, book: BookDep, state: StateDep,
    tenant: TenantDep, tasks: BackgroundTasks, delivery_id: Id, data: TestMail,
) -> None:  # fmt: skip
    """Send the mail as it is to five addresses at most."""
    await deliveries.send_test(actor, delivery_id, data, await chosen_address(principal, book, data.address_id))
    tasks.add_task(state.wakeups.wake, tenant.name)


@router.get("/{delivery_id}/test", responses=problems(404, 422))
async def get_test(_principal: MayDraft, deliveries: DeliveriesDep, delivery_id: Id) -> SentMails:
    """What became of the caller's last test mails of this delivery. What is done with is kept for some days only."""
    return SentMails(items=list(await deliveries.tests(delivery_id)))


@router.post("/{delivery_id}/request", responses=problems(404, 409, 422))
async def request_approval(
    _principal: MayDraft, actor: ActorDep, deliveries: DeliveriesDep, delivery_id: Id
) -> DeliveryOutput:
    """Freeze the content and put it up for approval."""
    return await deliveries.request(actor, delivery_id)


@router.post("/{delivery_id}/approve", responses=problems(404, 409, 422))
async def approve(
    _principal: MayApprove, actor: ActorDep, deliveries: DeliveriesDep, delivery_id: Id, data: Approval
) -> DeliveryOutput:
    """Approve the content with this fingerprint. 403 for whoever wrote or changed it."""
    return await deliveries.approve(actor, delivery_id, data.content_sha256)


@router.post("/{delivery_id}/reject", responses=problems(404, 409, 422))
async def reject(
    _principal: MayApprove, actor: ActorDep, deliveries: DeliveriesDep, delivery_id: Id, data: Rejection
) -> DeliveryOutput:
    """Send it back to its author, or take an approval back."""
    return await deliveries.reject(actor, delivery_id, data.reason)


@router.post("/{delivery_id}/release", responses=problems(404, 409, 422))
async def release(
    _principal: MaySend, actor: ActorDep, running: RunningDep, state: StateDep, tenant: TenantDep,
    tasks: BackgroundTasks, delivery_id: Id, data: Release,
) -> DeliveryOutput:  # fmt: skip
    """Order to send: the audience is frozen now, and the mails leave after the time for taking it back."""
    made = await running.release(actor, delivery_id, data)
    tasks.add_task(state.wakeups.wake, tenant.name, made.scheduled_at or made.hold_until)
    return made


@router.post("/{delivery_id}/take-back", responses=problems(404, 409, 422))
async def take_back(_principal: MaySend, actor: ActorDep, running: RunningDep, delivery_id: Id) -> DeliveryOutput:
    """Undo the order to send while nothing has left."""
    return await running.take_back(actor, delivery_id)


@router.post("/{delivery_id}/pause", responses=problems(404, 409, 422))
async def pause(_principal: MaySend, actor: ActorDep, running: RunningDep, delivery_id: Id) -> DeliveryOutput:
    """Stand still."""
    return await running.pause(actor, delivery_id)


@router.post("/{delivery_id}/resume", responses=problems(404, 409, 422))
async def resume(
    _principal: MaySend, actor: ActorDep, running: RunningDep, state: StateDep, tenant: TenantDep,
    tasks: BackgroundTasks, delivery_id: Id, data: Resume | None = None,
) -> DeliveryOutput:  # fmt: skip
    """Go on with whoever has not got it; what was scheduled waits for its moment, if that is still to come.

    409 `delivery-restored`: some may have got it before the data was restored.
    """
    made = await running.resume(actor, delivery_id, accept_repeats=data is not None and data.accept_repeats)
    tasks.add_task(state.wakeups.wake, tenant.name)
    return made


@router.post("/{delivery_id}/cancel", responses=problems(404, 409, 422))
async def cancel(
    _principal: MaySend, actor: ActorDep, running: RunningDep, state: StateDep, tenant: TenantDep,
    tasks: BackgroundTasks, delivery_id: Id,
) -> DeliveryOutput:  # fmt: skip
    """End it for good: whoever still waits gets nothing."""
    made = await running.cancel(actor, delivery_id)
    tasks.add_task(state.wakeups.wake, tenant.name)
    return made


@router.post("/{delivery_id}/resend-unknown", responses=problems(404, 409, 422))
async def resend_unknown(
    _principal: MaySend, actor: ActorDep, running: RunningDep, state: StateDep, tenant: TenantDep,
    tasks: BackgroundTasks, delivery_id: Id, data: Resend,
) -> DeliveryOutput:  # fmt: skip
    """Send again what may or may not have left. Some people may get the mail twice; nothing does this by itself."""
    made = await running.resend_unknown(actor, delivery_id, data)
    tasks.add_task(state.wakeups.wake, tenant.name)
    return made


@router.get("/{delivery_id}/recipients", responses=problems(404, 422))
async def recipients(
    _principal: MaySeePeople,
    running: RunningDep,
    delivery_id: Id,
    state: RecipientState | None = None,
    q: Annotated[str, Query(max_length=320, pattern=r"^[^\x00]*$", description="Part of the e-mail")] = "",
    after: Annotated[int, Query(ge=0, le=2**63 - 1, description="`next` of an earlier page")] = 0,
    size: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> RecipientPage:
    """What became of each mail. `accepted` means that the mail server took it, not that it has arrived."""
    return await running.recipients(delivery_id, state=state, q=q, after=after, size=size)


@router.get("/{delivery_id}/links", responses=problems(404, 422))
async def links(_principal: MaySee, deliveries: DeliveriesDep, delivery_id: Id) -> LinksOutput:
    """The links of the mail, and how many recipients opened each, where that is counted. Never more than a hint."""
    return await links_output(deliveries, delivery_id)


@router.get("/{delivery_id}/history", responses=problems(404, 422))
async def history(_principal: MaySee, deliveries: DeliveriesDep, delivery_id: Id) -> list[EventOutput]:
    """Who did what with the delivery, the newest step first."""
    return list(await deliveries.history(delivery_id))
