"""`/api/v1/consents` and `/api/v1/suppressions`: the same rules as the pages, as JSON."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, status

from elink_app.consent.deps import ConsentsDep
from elink_app.consent.models import Reason
from elink_app.consent.schemas import (
    ConsentInput,
    EmailState,
    LiftInput,
    SuppressionInput,
    SuppressionOutput,
    SuppressionPage,
)
from elink_app.web.deps import ActorDep, MayEdit, MayView
from elink_app.web.openapi import problems

router = APIRouter(prefix="/api/v1", tags=["consent"], responses=problems(401, 403, 422, 503))

EmailQuery = Annotated[str, Query(max_length=320, pattern=r"^[^\x00]*$", examples=["taro@example.co.jp"])]


@router.get("/consents")
async def get_consents(_principal: MayView, consents: ConsentsDep, email: EmailQuery) -> EmailState:
    """What is on record for an e-mail: consents, withdrawals, and why it gets no mail."""
    return await consents.of(email)


@router.post("/consents", status_code=status.HTTP_201_CREATED)
async def record_consent(_principal: MayEdit, consents: ConsentsDep, actor: ActorDep, data: ConsentInput) -> EmailState:
    """Record a consent or its withdrawal. What is recorded is never changed."""
    return await consents.record(data, actor)


@router.get("/suppressions")
async def list_suppressions(
    _principal: MayView,
    consents: ConsentsDep,
    reason: Reason | None = None,
    q: Annotated[str, Query(max_length=320, pattern=r"^[^\x00]*$", description="Part of the e-mail")] = "",
    cursor: Annotated[str, Query(max_length=400)] = "",
) -> SuppressionPage:
    """Who gets no mail, the newest first."""
    return await consents.page(reason, q, cursor)


@router.post("/suppressions", status_code=status.HTTP_204_NO_CONTENT)
async def add_suppression(_principal: MayEdit, consents: ConsentsDep, actor: ActorDep, data: SuppressionInput) -> None:
    """No more mail to this e-mail. Doing it twice changes nothing."""
    await consents.suppress(data.email, Reason.BLOCKED, data.detail, actor.name, actor)


@router.post("/suppressions/{suppression_id}/lift", responses=problems(404))
async def lift_suppression(
    _principal: MayEdit,
    consents: ConsentsDep,
    actor: ActorDep,
    suppression_id: Annotated[int, Path(ge=1, le=2**63 - 1, examples=[1])],
    data: LiftInput,
) -> SuppressionOutput:
    """Let mail go there again. 422 for a refusal by the person: only a new consent of hers ends it."""
    return await consents.lift(suppression_id, data.why, actor)
