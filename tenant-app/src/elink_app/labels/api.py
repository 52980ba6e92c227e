"""`/api/v1/tags`: tags, and the information labels among them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response, status

from elink_app.labels.deps import LabelsDep
from elink_app.labels.schemas import LabelInput, TagInput, TagOutput
from elink_app.web.deps import MasterDep, MayEdit, MayView
from elink_app.web.openapi import problems

router = APIRouter(prefix="/api/v1/tags", tags=["tags"], responses=problems(401, 403, 503))

TagId = Annotated[int, Path(ge=1, le=2**63 - 1, examples=[1])]


@router.get("")
async def list_tags(_principal: MayView, labels: LabelsDep) -> list[TagOutput]:
    """Tags by name, 1000 at most. Labels whose addresses the account may not see are not there."""
    return await labels.all()


@router.post("", status_code=status.HTTP_201_CREATED, responses=problems(422))
async def create_tag(_principal: MayEdit, labels: LabelsDep, data: TagInput, response: Response) -> TagOutput:
    """Add a tag. An address that is saved with an unknown tag makes it too."""
    made = await labels.create(data)
    response.headers["Location"] = f"/api/v1/tags/{made.id}"
    return made


@router.put("/{tag_id}", responses=problems(404, 422))
async def rename_tag(_principal: MayEdit, labels: LabelsDep, tag_id: TagId, data: TagInput) -> TagOutput:
    """Rename a tag on all its addresses. A label: the master only."""
    return await labels.rename(tag_id, data)


@router.put("/{tag_id}/label", responses=problems(404, 422))
async def set_label(_principal: MasterDep, labels: LabelsDep, tag_id: TagId, data: LabelInput) -> TagOutput:
    """Make a tag an information label for these roles, or a plain tag again. The master only, and not by a token."""
    return await labels.set_label(tag_id, data)


@router.delete("/{tag_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 409, 422))
async def delete_tag(_principal: MayEdit, labels: LabelsDep, tag_id: TagId) -> None:
    """Take a tag from all addresses and remove it. A label: the master only. 409 while segments name it."""
    await labels.delete(tag_id)
