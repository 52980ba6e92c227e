"""`/api/v1/utilities`: try a program, run it, undo it."""

from __future__ import annotations

from fastapi import APIRouter, Response, status

from elink_app.transfer.api import WorkDep
from elink_app.transfer.schemas import JobStarted
from elink_app.utilities.deps import RunId, UtilitiesDep
from elink_app.utilities.schemas import RunInput, UtilityInput, UtilityList, UtilityOutput
from elink_app.web.openapi import problems

router = APIRouter(prefix="/api/v1/utilities", tags=["utilities"], responses=problems(401, 403, 503))


@router.get("")
async def list_utilities(programs: UtilitiesDep) -> UtilityList:
    """The newest programs, one's own; the master account sees all. This is the log of who ran what."""
    return UtilityList(items=await programs.newest())


@router.post("", status_code=status.HTTP_201_CREATED, responses=problems(404, 422))
async def try_utility(programs: UtilitiesDep, data: UtilityInput, response: Response) -> UtilityOutput:
    """Try a program: exactly how many it would change, and the first of them before and after. Nothing is changed."""
    made = await programs.draft(data.request)
    response.headers["Location"] = f"/api/v1/utilities/{made.id}"
    return made


@router.get("/{run_id}", responses=problems(404, 422))
async def get_utility(programs: UtilitiesDep, run_id: RunId) -> UtilityOutput:
    """One program; while it has not run, count and sample are those of now."""
    return await programs.get(run_id)


@router.post("/{run_id}/run", responses=problems(404, 409, 422))
async def run_utility(work: WorkDep, programs: UtilitiesDep, run_id: RunId, data: RunInput) -> JobStarted:
    """Run it in the background. 409 when the count is another now, or when it is 100 or more and was not given."""
    return work.queued(await programs.start(run_id, data.count))


@router.post("/{run_id}/undo", responses=problems(404, 409, 422))
async def undo_utility(work: WorkDep, programs: UtilitiesDep, run_id: RunId) -> JobStarted:
    """Take it back, in the background. What somebody saved, deleted or lifted since stays. 409 when it is too late."""
    return work.queued(await programs.undo(run_id))
