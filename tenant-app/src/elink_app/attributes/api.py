"""`/api/v1/attributes`: the fields that the tenant adds to addresses."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response, status

from elink_app.accounts.permissions import Permission, Principal
from elink_app.attributes.deps import AttributesDep
from elink_app.attributes.schemas import AttributeChange, AttributeInput, AttributeOutput
from elink_app.web.deps import MayView, require
from elink_app.web.openapi import problems

router = APIRouter(prefix="/api/v1/attributes", tags=["attributes"], responses=problems(401, 403, 503))

AttributeId = Annotated[int, Path(ge=1, le=2**63 - 1, examples=[1])]
MayManage = Annotated[Principal, Depends(require(Permission.SETTINGS_MANAGE))]


@router.get("")
async def list_attributes(_principal: MayView, attributes: AttributesDep) -> list[AttributeOutput]:
    """The fields in use, in their order."""
    return await attributes.all()


@router.post("", status_code=status.HTTP_201_CREATED, responses=problems(422))
async def create_attribute(
    _principal: MayManage, attributes: AttributesDep, data: AttributeInput, response: Response
) -> AttributeOutput:
    """Add a field. Addresses that are there already have no value; a required one is asked for at their next save."""
    made = await attributes.create(data)
    response.headers["Location"] = f"/api/v1/attributes/{made.id}"
    return made


@router.put("/{attribute_id}", responses=problems(404, 422))
async def update_attribute(
    _principal: MayManage, attributes: AttributesDep, attribute_id: AttributeId, data: AttributeChange
) -> AttributeOutput:
    """Change a field. Values stay as they are; a choice that addresses bear cannot be taken away."""
    return await attributes.update(attribute_id, data)


@router.delete("/{attribute_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 409, 422))
async def delete_attribute(_principal: MayManage, attributes: AttributesDep, attribute_id: AttributeId) -> None:
    """Delete a field. Its values are hidden at once, and erased when it can no longer be restored. 409 while segments
    name it."""
    await attributes.delete(attribute_id)


@router.post("/{attribute_id}/restore", responses=problems(404, 422))
async def restore_attribute(
    _principal: MayManage, attributes: AttributesDep, attribute_id: AttributeId
) -> AttributeOutput:
    """Bring a deleted field back with its values. 404 when it is too late."""
    return await attributes.restore(attribute_id)
