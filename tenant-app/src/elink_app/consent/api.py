"""`/api/v1/consents` and `/api/v1/suppressions`: by e-mail, whether or not an address bears it."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, status

from elink_app.consent.deps import ConsentDep
from elink_app.consent.schemas import (
    ConsentInput,
    EmailOutput,
    LiftInput,
    SuppressionInput,
    SuppressionOutput,
    SuppressionPage,
)
from elink_app.web.deps import MayEdit, MayView
from elink_app.web.openapi import problems

router = APIRouter(prefix="/api/v1", tags=["consent"], responses=problems(401, 403, 503))

EmailPath = Annotated[str, Path(max_length=320, pattern=r"^[^\x00-\x20]+$", examples=["taro@example.co.jp"])]
SuppressionId = Annotated[int, Path(ge=1, le=2**63 - 1, examples=[1])]


@router.get("/consents/{email}", responses=problems(404, 422))
async def get_consent(_principal: MayView, book: ConsentDep, email: EmailPath) -> EmailOutput:
    """Consent and suppression of one e-mail with their history. Nothing recorded is an answer, not an error."""
    return await book.email(email)


@router.post("/consents/{email}", status_code=status.HTTP_201_CREATED, responses=problems(404, 422))
async def record_consent(_principal: MayEdit, book: ConsentDep, email: EmailPath, data: ConsentInput) -> EmailOutput:
    """Record that consent was given or withdrawn. The line with the newest `at` counts."""
    return await book.record(email, data)


@router.get("/suppressions", responses=problems(422))
async def list_suppressions(
    _principal: MayView,
    book: ConsentDep,
    reason: Literal["", "unsubscribed", "bounced", "complained", "blocked"] = "",
    q: Annotated[str, Query(max_length=320, pattern=r"^[^\x00]*$", description="Part of the e-mail")] = "",
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="`next` of an earlier page")] = None,
    size: Annotated[int, Query(ge=1, le=200)] = 50,
) -> SuppressionPage:
    """E-mails that get no mail, the newest first."""
    return await book.suppressions(reason=reason, part=q, before=before, size=size)


@router.post("/suppressions", status_code=status.HTTP_201_CREATED, responses=problems(404, 422))
async def create_suppression(_principal: MayEdit, book: ConsentDep, data: SuppressionInput) -> EmailOutput:
    """Put an e-mail on the list. A reason that holds already stays as it is."""
    return await book.block(data)


@router.post("/suppressions/{suppression_id}/lift", responses=problems(404, 409, 422))
async def lift_suppression(
    _principal: MayEdit, book: ConsentDep, suppression_id: SuppressionId, data: LiftInput
) -> SuppressionOutput:
    """Take a reason off the list. 409 when the person asked for no mail and has not consented since."""
    return await book.lift(suppression_id, data.why)
