"""`/api/v1/users` and `/api/v1/user-fields`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Path, Query, Response, status

from elink_app.people.deps import UserFieldsDep, UsersDep
from elink_app.people.schemas import FieldInput, FieldList, FieldOutput, UserInput, UserList, UserOutput, UserUpdate
from elink_app.web.deps import MasterDep, StateDep, TenantDep
from elink_app.web.openapi import problems

router = APIRouter(prefix="/api/v1", tags=["users"], responses=problems(401, 403, 503))

UserId = Annotated[int, Path(ge=1, le=2**63 - 1, examples=[2])]
FieldId = Annotated[int, Path(ge=1, le=2**63 - 1, examples=[1])]


@router.get("/users", responses=problems(422))
async def list_users(
    users: UsersDep,
    q: Annotated[str, Query(max_length=100, pattern=r"^[^\x00]*$", description="Part of the e-mail or name")] = "",
) -> UserList:
    """All users: the master first, then by e-mail."""
    return UserList(items=list(await users.find(q)))


@router.post("/users", status_code=status.HTTP_201_CREATED, responses=problems(422))
async def invite_user(
    users: UsersDep, data: UserInput, response: Response, state: StateDep, tenant: TenantDep, tasks: BackgroundTasks
) -> UserOutput:
    """Register a user. An invitation goes out by mail; its link works once, for 72 hours."""
    made = await users.invite(data)
    tasks.add_task(state.wakeups.wake, tenant.name)
    response.headers["Location"] = f"/api/v1/users/{made.id}"
    return made


@router.get("/users/{user_id}", responses=problems(404, 422))
async def get_user(users: UsersDep, user_id: UserId) -> UserOutput:
    """One user."""
    return await users.get(user_id)


@router.put("/users/{user_id}", responses=problems(404, 422))
async def update_user(users: UsersDep, user_id: UserId, data: UserUpdate) -> UserOutput:
    """Change name, roles and attributes of a user."""
    return await users.update(user_id, data)


@router.delete("/users/{user_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 422))
async def delete_user(users: UsersDep, user_id: UserId) -> None:
    """Remove a user for good, with sessions and tokens; what the user wrote stays. 403 for the master."""
    await users.delete(user_id)


@router.post("/users/{user_id}/disable", responses=problems(404, 422))
async def disable_user(users: UsersDep, user_id: UserId) -> UserOutput:
    """Stop a user: sessions, tokens and links end at once. 403 for the master."""
    return await users.disable(user_id)


@router.post("/users/{user_id}/enable", responses=problems(404, 422))
async def enable_user(users: UsersDep, user_id: UserId) -> UserOutput:
    """Let a stopped user in again."""
    return await users.enable(user_id)


@router.post("/users/{user_id}/invite", responses=problems(404, 422))
async def invite_user_again(
    users: UsersDep, user_id: UserId, state: StateDep, tenant: TenantDep, tasks: BackgroundTasks
) -> UserOutput:
    """Send a new invitation; the older link ends. 404 for a user who has come already."""
    made = await users.invite_again(user_id)
    tasks.add_task(state.wakeups.wake, tenant.name)
    return made


@router.delete("/users/{user_id}/invite", responses=problems(404, 422))
async def revoke_invitation(users: UsersDep, user_id: UserId) -> UserOutput:
    """End the link of an invitation."""
    return await users.revoke_invitation(user_id)


@router.post("/users/{user_id}/force-password", responses=problems(404, 422))
async def force_password(users: UsersDep, user_id: UserId) -> UserOutput:
    """Demand a new password of a user before anything else. 403 for the master."""
    return await users.force_password(user_id)


@router.post("/users/{user_id}/remove-factor", responses=problems(404, 422))
async def remove_factor(users: UsersDep, user_id: UserId) -> UserOutput:
    """Take the phone's codes, passkeys and recovery codes of a user who lost them. 404 for one who has none."""
    return await users.remove_factor(user_id)


@router.delete("/users/{user_id}/sessions", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 422))
async def end_sessions(users: UsersDep, user_id: UserId) -> None:
    """Log every browser of a user out. 403 for the master."""
    await users.end_sessions(user_id)


@router.get("/user-fields")
async def list_fields(fields: UserFieldsDep) -> FieldList:
    """The tenant's own fields of users, in their order."""
    return FieldList(items=list(await fields.all()))


@router.post("/user-fields", status_code=status.HTTP_201_CREATED, responses=problems(422))
async def create_field(_principal: MasterDep, fields: UserFieldsDep, data: FieldInput) -> FieldOutput:
    """Define a field. The master only."""
    return await fields.create(data)


@router.delete("/user-fields/{field_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 422))
async def delete_field(_principal: MasterDep, fields: UserFieldsDep, field_id: FieldId) -> None:
    """Delete a field. Its values are hidden at once, and erased when it can no longer be restored. The master only."""
    await fields.delete(field_id)


@router.post("/user-fields/{field_id}/restore", responses=problems(404, 422))
async def restore_field(_principal: MasterDep, fields: UserFieldsDep, field_id: FieldId) -> FieldOutput:
    """Bring a deleted field back with its values. 404 when it is too late. The master only."""
    return await fields.restore(field_id)
