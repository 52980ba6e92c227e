"""Pages of deliveries from the order to send on, and what became of each mail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import ValidationError
from starlette.responses import Response, StreamingResponse

from elink_app.accounts.permissions import Permission, Principal
from elink_app.addresses.visibility import Action
from elink_app.audit.service import Actor, record
from elink_app.deliveries.deps import DeliveriesDep, MayExportPeople, MaySeePeople, MaySend, RunningDep, deliveries_in
from elink_app.deliveries.routes import Id, errors_of, refused, show
from elink_app.deliveries.running import Running, csv_row
from elink_app.deliveries.schemas import Release, Resend
from elink_app.deliveries.states import RecipientState
from elink_app.errors import AppError, InvalidInput
from elink_app.jobs.deps import wake_after
from elink_app.registry.tenant import Tenant
from elink_app.web import csv, pages
from elink_app.web.deps import ActorDep, StateDep, TenantDep
from elink_app.web.forms import field, read_form
from elink_app.web.state import WebState

router = APIRouter(include_in_schema=False, prefix="/deliveries")

_EXPORT_BATCH = 1000


@router.post("/{delivery_id}/release")
async def release(
    request: Request, principal: MaySend, actor: ActorDep, deliveries: DeliveriesDep, running: RunningDep,
    delivery_id: Id,
) -> Response:  # fmt: skip
    """Order to send."""
    form = await read_form(request)
    typed = {name: field(form, name) for name in ("when", "at", "typed_count")}
    try:
        order = Release.model_validate(
            {"when": typed["when"], "at": typed["at"] or None, "typed_count": _number(typed["typed_count"])}
        )
        async with deliveries.db.begin_nested():
            made = await running.release(actor, delivery_id, order)
    except (ValidationError, InvalidInput) as error:
        return await show(request, principal, deliveries, delivery_id, errors=errors_of(error), typed=typed, status=422)
    except AppError as error:
        return await refused(request, principal, deliveries, delivery_id, error)
    answer = pages.redirect(f"/deliveries/{delivery_id}?notice=released")
    answer.background = wake_after(request, made.scheduled_at or made.hold_until)
    return answer


def _number(typed: str) -> str | None:
    """As people type numbers: with commas, in full-width digits."""
    plain = typed.replace(",", "").replace(",", "").strip()
    return (str(int(plain[:12])) if plain.isdecimal() else plain) or None


def _add_step(path: str, notice: str, work: Callable[[Running, Actor, int], Awaitable[object]]) -> None:
    """A button without a form: one step, then the delivery's page again."""

    @router.post(f"/{{delivery_id}}/{path}")
    async def step(
        request: Request, principal: MaySend, actor: ActorDep, deliveries: DeliveriesDep, running: RunningDep,
        delivery_id: Id,
    ) -> Response:  # fmt: skip
        try:
            await work(running, actor, delivery_id)
        except AppError as error:
            return await refused(request, principal, deliveries, delivery_id, error)
        return _woken(request, delivery_id, notice)


_add_step("take-back", "taken-back", Running.take_back)
_add_step("pause", "paused", Running.pause)
_add_step("cancel", "cancelled", Running.cancel)


@router.post("/{delivery_id}/resume")
async def resume(
    request: Request, principal: MaySend, actor: ActorDep, deliveries: DeliveriesDep, running: RunningDep,
    delivery_id: Id,
) -> Response:  # fmt: skip
    """Go on; what was restored only when the person accepts that some may get it twice."""
    form = await read_form(request)
    try:
        await running.resume(actor, delivery_id, accept_repeats=field(form, "accept_repeats") == "1")
    except AppError as error:
        return await refused(request, principal, deliveries, delivery_id, error)
    return _woken(request, delivery_id, "resumed")


def _woken(request: Request, delivery_id: int, notice: str) -> Response:
    """Back to the page; the worker looks at once."""
    answer = pages.redirect(f"/deliveries/{delivery_id}?notice={notice}")
    answer.background = wake_after(request)
    return answer


@router.post("/{delivery_id}/resend-unknown")
async def resend_unknown(
    request: Request, principal: MaySend, actor: ActorDep, deliveries: DeliveriesDep, running: RunningDep,
    delivery_id: Id,
) -> Response:  # fmt: skip
    """Send again what may or may not have left."""
    typed = {"typed_count": field(await read_form(request), "typed_count")}
    try:
        order = Resend.model_validate({"typed_count": _number(typed["typed_count"])})
        async with deliveries.db.begin_nested():
            await running.resend_unknown(actor, delivery_id, order)
    except (ValidationError, InvalidInput) as error:
        return await show(request, principal, deliveries, delivery_id, errors=errors_of(error), typed=typed, status=422)
    except AppError as error:
        return await refused(request, principal, deliveries, delivery_id, error)
    return _woken(request, delivery_id, "resent-unknown")


@router.get("/{delivery_id}/recipients")
async def recipients(
    request: Request,
    principal: MaySeePeople,
    deliveries: DeliveriesDep,
    running: RunningDep,
    delivery_id: Id,
    state: Annotated[str, Query(max_length=10)] = "",
    q: Annotated[str, Query(max_length=320)] = "",
    after: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0,
) -> Response:
    """What became of each mail."""
    wanted = RecipientState(state) if state in set(RecipientState) else None
    return pages.render(
        request,
        "delivery_recipients.html",
        principal=principal,
        delivery=await deliveries.get(delivery_id),
        page=await running.recipients(delivery_id, state=wanted, q=q, after=after),
        states=list(RecipientState),
        state=wanted.value if wanted else "",
        q=q,
        after=after,
        may_export=principal.may(Permission.ADDRESSES_EXPORT),
    )


@router.get("/{delivery_id}/recipients.csv")
async def export(
    principal: MayExportPeople, actor: ActorDep, deliveries: DeliveriesDep, state: StateDep, tenant: TenantDep,
    delivery_id: Id,
) -> Response:  # fmt: skip
    """The same as CSV, everybody in it."""
    found = await deliveries.get(delivery_id)
    await record(
        deliveries.db, actor, "delivery.export", kind="delivery", key=str(delivery_id),
        after={"recipients": found.counts.total}, now=state.clock(),
    )  # fmt: skip
    return StreamingResponse(
        _lines(state, tenant, principal, delivery_id),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="delivery-{delivery_id}.csv"'},
    )


async def _lines(state: WebState, tenant: Tenant, principal: Principal, delivery_id: int) -> AsyncIterator[str]:
    """In pieces, each in a transaction of its own: a slow reader holds no connection."""
    yield csv.BOM + csv.lines([("email", "state", "attempts", "updated_at", "reply")])
    after: int | None = 0
    while after is not None:
        async with state.databases.transaction(tenant) as db:
            running = Running(deliveries_in(db, state, tenant, principal))
            page = await running.recipients(delivery_id, after=after, size=_EXPORT_BATCH, action=Action.EXPORT)
        yield csv.lines(csv_row(item) for item in page.items)
        after = page.next
