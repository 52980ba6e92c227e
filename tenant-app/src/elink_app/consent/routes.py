"""Pages of consent and suppression."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request
from pydantic import ValidationError
from starlette.responses import Response

from elink_app.accounts.permissions import Principal
from elink_app.consent.deps import ConsentDep
from elink_app.consent.schemas import ConsentInput, LiftInput, SuppressionInput
from elink_app.consent.service import ConsentBook, ConsentNeeded, Reason
from elink_app.emails import clean_email
from elink_app.errors import FieldError, NotFound
from elink_app.sentforms.deps import SentDep
from elink_app.validation import field_errors
from elink_app.web import pages
from elink_app.web.deps import MayEdit, MayView
from elink_app.web.forms import field, read_form

router = APIRouter(include_in_schema=False)

SuppressionId = Annotated[int, Path(ge=1, le=2**63 - 1)]


def _place(email: str, notice: str) -> str:
    return "/consents?" + urlencode({"email": email, "notice": notice})


async def _page(
    request: Request, principal: Principal, book: ConsentBook, email: str, *, status: int = 200, **values: Any
) -> Response:
    shown: dict[str, Any] = {"errors": pages.FormErrors(), "problem": None, "notice_name": "", "typed": {}}
    found = await book.email(email)
    here = "/consents?" + urlencode({"email": email})
    return pages.render(
        request, "consent.html", principal=principal, status=status, path=here, found=found, **{**shown, **values}
    )


@router.get("/consents")
async def consent(
    request: Request,
    principal: MayView,
    book: ConsentDep,
    email: Annotated[str, Query(max_length=320)] = "",
    notice: str = "",
) -> Response:
    """Consent and suppression of one e-mail."""
    cleaned = clean_email(email)
    if cleaned is None:
        raise NotFound
    return await _page(request, principal, book, cleaned, notice_name=notice)


@router.post("/consents")
async def record_consent(request: Request, principal: MayEdit, book: ConsentDep, sent: SentDep) -> Response:
    """Record that consent was given or withdrawn."""
    form = await read_form(request)
    email = clean_email(field(form, "email"))
    if email is None:
        raise NotFound
    # Where it leads may be longer than what is remembered: the form itself says it.
    if sent.led_to is not None:
        return pages.redirect(_place(email, "saved"))
    typed = {name: field(form, name) for name in ("kind", "how", "source", "wording")}
    try:
        await book.record(email, ConsentInput.model_validate(typed))
    except ValidationError as error:
        wrong = pages.FormErrors(field_errors(error.errors()))
        return await _page(request, principal, book, email, status=422, errors=wrong, typed=typed)
    await sent.made("/consents")
    return pages.redirect(_place(email, "saved"))


@router.get("/suppressions")
async def suppressions(
    request: Request,
    principal: MayView,
    book: ConsentDep,
    q: Annotated[str, Query(max_length=320)] = "",
    reason: str = "",
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
) -> Response:
    """Who gets no mail."""
    known = reason if reason in set(Reason) else ""
    page = await book.suppressions(reason=known, part=q.replace("\0", ""), before=before)
    following = urlencode({"q": q, "reason": known, "before": page.next}) if page.next else ""
    return pages.render(
        request, "suppressions.html", principal=principal, page=page, q=q, reason=known, following=following,
        before=before, errors=pages.FormErrors(), email="", detail="",
    )  # fmt: skip


@router.post("/suppressions")
async def block(request: Request, principal: MayEdit, book: ConsentDep) -> Response:
    """Put an e-mail on the list."""
    form = await read_form(request)
    typed: dict[str, Any] = {"email": field(form, "email"), "detail": field(form, "detail")}
    try:
        found = await book.block(SuppressionInput.model_validate(typed))
    except ValidationError as error:
        return pages.render(
            request, "suppressions.html", principal=principal, status=422, page=await book.suppressions(), q="",
            reason="", following="", before=None, errors=pages.FormErrors(field_errors(error.errors())), **typed,
        )  # fmt: skip
    return pages.redirect(_place(found.email, "saved"))


@router.post("/suppressions/{suppression_id}/lift")
async def lift(request: Request, principal: MayEdit, book: ConsentDep, suppression_id: SuppressionId) -> Response:
    """Take a reason off the list."""
    form = await read_form(request)
    email = clean_email(field(form, "email"))
    if email is None:
        raise NotFound
    # Every reason has a form of its own on the page.
    here, why = f"why-{suppression_id}", field(form, "why")
    typed = {here: why}
    try:
        await book.lift(suppression_id, LiftInput.model_validate({"why": why}).why)
    except ConsentNeeded as error:
        return await _page(request, principal, book, email, status=error.status, problem=error.detail, typed=typed)
    except ValidationError as error:
        wrong = pages.FormErrors([FieldError((here,), one.code, one.message) for one in field_errors(error.errors())])
        return await _page(request, principal, book, email, status=422, errors=wrong, typed=typed)
    return pages.redirect(_place(email, "saved"))
