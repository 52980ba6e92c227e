"""`/api/v1/duplicates`: addresses that seem to be the same, and their merging."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from elink_app.duplicates.deps import DuplicatesDep
from elink_app.duplicates.schemas import DuplicatePage, Likeness, MergeInput, MergeOutput
from elink_app.web.deps import MayEdit, MayView
from elink_app.web.openapi import problems

router = APIRouter(prefix="/api/v1/duplicates", tags=["duplicates"], responses=problems(401, 403, 503))

MergeId = Annotated[int, Path(ge=1, le=2**63 - 1, examples=[1])]


@router.get("", responses=problems(422))
async def list_duplicates(
    _principal: MayView,
    duplicates: DuplicatesDep,
    by: Likeness = Likeness.EMAIL,
    after: Annotated[str, Query(max_length=700, pattern=r"^[^\x00]*$", description="`next` of an earlier page")] = "",
    size: Annotated[int, Query(ge=1, le=50)] = 20,
) -> DuplicatePage:
    """Groups with the same e-mail, the same name and company, or the same phone; five of each group."""
    return await duplicates.page(by, after, size)


@router.post("/merge", responses=problems(404, 409, 422))
async def merge_duplicates(_principal: MayEdit, duplicates: DuplicatesDep, data: MergeInput) -> MergeOutput:
    """Make one address of several. The others are deleted, and come back when the merge is undone."""
    return await duplicates.merge(data)


@router.post("/merges/{merge_id}/undo", responses=problems(404, 409, 422))
async def undo_merge(_principal: MayEdit, duplicates: DuplicatesDep, merge_id: MergeId) -> MergeOutput:
    """Undo a merge. 404 when it is too late, 409 when somebody saved the kept address since."""
    return await duplicates.undo(merge_id)
