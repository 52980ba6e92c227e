"""Pages: what is on record for the e-mails of an address, and the list of who gets no mail."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request
from pydantic import ValidationError
from starlette.datastructures import FormData
from starlette.responses import Response

from elink_app.accounts.permissions import Principal
from elink_app.addresses.deps import BookDep
from elink_app.addresses.schemas import AddressOutput
from elink_app.clock import JST
from elink_app.consent.deps import ConsentsDep
from elink_app.consent.models import Reason
from elink_app.consent.schemas import ConsentInput, EmailState, LiftInput, SuppressionInput
from elink_app.errors import FieldError, InvalidInput, NotFound
from elink_app.messages import N_
from elink_app.validation import field_error, field_errors
from elink_app.web import pages
from elink_app.web.deps import ActorDep, MayEdit, MayView
from elink_app.web.forms import field, read_form

router = APIRouter(include_in_schema=False)

AddressId = Annotated[int, Path(ge=1, le=2**63 - 1)]
SuppressionId = Annotated[int, Path(ge=1, le=2**63 - 1)]
REASONS = {
    Reason.UNSUBSCRIBED: N_("Unsubscribed"),
    Reason.BOUNCED: N_("Does not arrive"),
    Reason.COMPLAINED: N_("Complained"),
    Reason.BLOCKED: N_("Stopped by you"),
}


@router.get("/addresses/{address_id}/consent")
async def consent_page(
    request: Request, principal: MayView, book: BookDep, consents: ConsentsDep, address_id: AddressId, notice: str = ""
) -> Response:
    """Consents, withdrawals and suppressions of each e-mail of an address."""
    address = await book.get(address_id)
    return await _consent_page(request, principal, consents, address, notice=notice)


@router.post("/addresses/{address_id}/consent")
async def record_consent(
    request: Request, principal: MayEdit, book: BookDep, consents: ConsentsDep, actor: ActorDep, address_id: AddressId
) -> Response:
    """Append a consent or its withdrawal to the ledger."""
    address = await book.get(address_id)
    form = await read_form(request)
    try:
        data = _consent_input(form)
        if data.email not in address.emails:
            raise NotFound
        await consents.record(data, actor)
    except ValidationError as error:
        return await _consent_page(request, principal, consents, address, form, field_errors(error.errors()))
    except InvalidInput as error:
        return await _consent_page(request, principal, consents, address, form, error.errors)
    return pages.redirect(f"/addresses/{address_id}/consent?notice=recorded")


@router.get("/suppressions")
async def suppression_list(
    request: Request,
    principal: MayView,
    consents: ConsentsDep,
    q: Annotated[str, Query(max_length=320)] = "",
    reason: str = "",
    cursor: Annotated[str, Query(max_length=400)] = "",
    notice: str = "",
) -> Response:
    """Who gets no mail, and why."""
    return await _suppressions(request, principal, consents, q=q, reason=reason, cursor=cursor, notice=notice)


@router.post("/suppressions")
async def add_suppression(request: Request, principal: MayEdit, consents: ConsentsDep, actor: ActorDep) -> Response:
    """Stop mail to an e-mail."""
    form = await read_form(request)
    try:
        data = SuppressionInput(email=field(form, "email"), detail=field(form, "detail"))
    except ValidationError as error:
        return await _suppressions(request, principal, consents, form=form, errors=field_errors(error.errors()))
    await consents.suppress(data.email, Reason.BLOCKED, data.detail, actor.name, actor)
    return pages.redirect("/suppressions?notice=added")


@router.post("/suppressions/{suppression_id}/lift")
async def lift_suppression(
    request: Request, principal: MayEdit, consents: ConsentsDep, actor: ActorDep, suppression_id: SuppressionId
) -> Response:
    """Let mail go there again."""
    form = await read_form(request)
    try:
        await consents.lift(suppression_id, LiftInput(why=field(form, "why")).why, actor)
    except ValidationError as error:
        return await _suppressions(request, principal, consents, errors=field_errors(error.errors()))
    except InvalidInput as error:
        return await _suppressions(request, principal, consents, errors=error.errors)
    return pages.redirect("/suppressions?notice=lifted")


def _consent_input(form: FormData) -> ConsentInput:
    values: dict[str, Any] = {name: field(form, name) for name in ("email", "how", "source", "wording")}
    when = field(form, "occurred_at").strip()
    moment = None
    if when:
        try:
            moment = datetime.fromisoformat(when).replace(tzinfo=JST)
        except ValueError:
            raise InvalidInput([field_error(("occurred_at",), "moment_past")]) from None
    return ConsentInput(**values, given=field(form, "given") == "yes", occurred_at=moment)


async def _consent_page(
    request: Request,
    principal: Principal,
    consents: ConsentsDep,
    address: AddressOutput,
    form: FormData | None = None,
    errors: list[FieldError] | None = None,
    notice: str = "",
) -> Response:
    states: list[EmailState] = [await consents.of(email) for email in address.emails]
    names = ("email", "given", "how", "source", "wording", "occurred_at")
    return pages.render(
        request,
        "consent.html",
        principal=principal,
        status=422 if errors else 200,
        address=address,
        states=states,
        reasons=REASONS,
        values={name: field(form, name) if form is not None else "" for name in names},
        errors=pages.FormErrors(errors),
        notice_name=notice,
    )


async def _suppressions(
    request: Request,
    principal: Principal,
    consents: ConsentsDep,
    *,
    q: str = "",
    reason: str = "",
    cursor: str = "",
    notice: str = "",
    form: FormData | None = None,
    errors: list[FieldError] | None = None,
) -> Response:
    text = q.replace("\0", "")
    wanted = Reason(reason) if reason in list(Reason) else None
    page = await consents.page(wanted, text, cursor)
    query = {name: value for name, value in (("q", text), ("reason", wanted or ""), ("cursor", page.next)) if value}
    return pages.render(
        request,
        "suppressions.html",
        principal=principal,
        status=422 if errors else 200,
        page=page,
        q=text,
        reason=wanted or "",
        reasons=REASONS,
        next_link=f"/suppressions?{urlencode(query)}" if page.next else "",
        final=(Reason.UNSUBSCRIBED, Reason.COMPLAINED),
        values={name: field(form, name) if form is not None else "" for name in ("email", "detail")},
        errors=pages.FormErrors(errors),
        notice_name=notice,
    )
