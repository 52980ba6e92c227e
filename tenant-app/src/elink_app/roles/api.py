"""`/api/v1/roles`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response, status

from elink_app.roles.deps import RolesDep
from elink_app.roles.schemas import RoleInput, RoleList, RoleOutput
from elink_app.web.openapi import problems

router = APIRouter(prefix="/api/v1/roles", tags=["roles"], responses=problems(401, 403, 503))

RoleId = Annotated[int, Path(ge=1, le=2**63 - 1, examples=[1])]


@router.get("")
async def list_roles(roles: RolesDep) -> RoleList:
    """All roles, by name."""
    return RoleList(items=list(await roles.all()))


@router.post("", status_code=status.HTTP_201_CREATED, responses=problems(422))
async def create_role(roles: RolesDep, data: RoleInput, response: Response) -> RoleOutput:
    """Define a role. 403 when it holds a permission that the caller cannot grant."""
    made = await roles.create(data)
    response.headers["Location"] = f"/api/v1/roles/{made.id}"
    return made


@router.get("/{role_id}", responses=problems(404, 422))
async def get_role(roles: RolesDep, role_id: RoleId) -> RoleOutput:
    """One role."""
    return await roles.get(role_id)


@router.put("/{role_id}", responses=problems(404, 422))
async def update_role(roles: RolesDep, role_id: RoleId, data: RoleInput) -> RoleOutput:
    """Change a role, for all who have it."""
    return await roles.update(role_id, data)


@router.delete("/{role_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 409, 422))
async def delete_role(roles: RolesDep, role_id: RoleId) -> None:
    """Remove a role for good. 409 while users have it."""
    await roles.delete(role_id)
