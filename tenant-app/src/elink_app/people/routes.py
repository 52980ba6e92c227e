"""Pages of users and their fields."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import ValidationError
from starlette.datastructures import FormData
from starlette.responses import Response

from elink_app.accounts.permissions import Principal
from elink_app.errors import FieldError, Forbidden, InvalidInput
from elink_app.jobs.deps import wake_after
from elink_app.messages import N_, Message
from elink_app.people.deps import UserFieldsDep, UsersDep
from elink_app.people.schemas import FieldInput, FieldKind, FieldOutput, Status, UserInput, UserOutput, UserUpdate
from elink_app.people.service import Users
from elink_app.roles.deps import RolesDep
from elink_app.roles.service import Roles
from elink_app.sentforms.deps import OnceDep
from elink_app.validation import field_errors
from elink_app.web import deletions, pages
from elink_app.web.deps import MasterDep, MayManageUsers, SessionsDep, StateDep
from elink_app.web.forms import field, fields, read_form

router = APIRouter(include_in_schema=False)

UserId = Annotated[int, Path(ge=1, le=2**63 - 1)]
_STATUS_NAMES = {Status.INVITED: N_("Invited"), Status.ACTIVE: N_("Active"), Status.DISABLED: N_("Stopped")}
_KIND_NAMES = {
    FieldKind.TEXT: N_("Text"),
    FieldKind.NUMBER: N_("Number"),
    FieldKind.DATE: N_("Date"),
    FieldKind.CHOICE: N_("Choice"),
    FieldKind.YES_NO: N_("Yes or no"),
}


@router.get("/users")
async def user_list(
    request: Request,
    principal: MayManageUsers,
    users: UsersDep,
    roles: RolesDep,
    q: Annotated[str, Query(max_length=100)] = "",
    notice: str = "",
) -> Response:
    """All users."""
    text = q.replace("\0", "")
    return pages.render(
        request,
        "users.html",
        principal=principal,
        users=await users.find(text),
        role_names={role.id: role.name for role in await roles.all()},
        status_names=_STATUS_NAMES,
        q=text,
        notice_name=notice,
    )


@router.get("/users/new")
async def new_form(
    request: Request, principal: MayManageUsers, users: UsersDep, roles: RolesDep, own: UserFieldsDep
) -> Response:
    """An empty form."""
    values: dict[str, Any] = {"email": "", "display_name": "", "roles": [], "attributes": {}}
    return await _form(request, principal, roles, await own.all(), None, values)


@router.post("/users")
async def invite(
    request: Request,
    principal: MayManageUsers,
    users: UsersDep,
    roles: RolesDep,
    own: UserFieldsDep,
    once: OnceDep,
) -> Response:
    """Register a user and send the invitation."""
    form, known = await read_form(request), await own.all()
    values = {"email": field(form, "email"), **_typed(form, known)}
    try:
        made = await users.invite(UserInput.model_validate(values))
    except (ValidationError, InvalidInput) as error:
        return await _form(request, principal, roles, known, None, values, error)
    answer = await once.redirect(f"/users/{made.id}?notice=invited")
    answer.background = wake_after(request)
    return answer


@router.get("/users/{user_id}")
async def user_page(
    request: Request,
    principal: MayManageUsers,
    users: UsersDep,
    roles: RolesDep,
    own: UserFieldsDep,
    sessions: SessionsDep,
    user_id: UserId,
    notice: str = "",
) -> Response:
    """One user: what is noted, and where logged in."""
    user = await users.get(user_id)
    in_reach = await users.may_act_on(user_id)
    return pages.render(
        request,
        "user.html",
        principal=principal,
        user=user,
        in_reach=in_reach,
        sessions=await sessions.of_account(user_id, principal) if in_reach else [],
        role_names={role.id: role.name for role in await roles.all()},
        fields=await own.all(),
        status_names=_STATUS_NAMES,
        notice_name=notice,
    )


@router.get("/users/{user_id}/edit")
async def edit_form(
    request: Request, principal: MayManageUsers, users: UsersDep, roles: RolesDep, own: UserFieldsDep, user_id: UserId
) -> Response:
    """The form with what is saved."""
    user = await users.get(user_id)
    return await _form(request, principal, roles, await own.all(), user, user.model_dump())


@router.post("/users/{user_id}")
async def save(
    request: Request, principal: MayManageUsers, users: UsersDep, roles: RolesDep, own: UserFieldsDep, user_id: UserId
) -> Response:
    """Save a changed user."""
    form, known = await read_form(request), await own.all()
    user, values = await users.get(user_id), _typed(form, known)
    try:
        await users.update(user_id, UserUpdate.model_validate(values))
    except (ValidationError, InvalidInput) as error:
        return await _form(request, principal, roles, known, user, values, error)
    return pages.redirect(f"/users/{user_id}?notice=saved")


_ACTIONS: dict[str, Callable[[Users, int], Awaitable[object]]] = {
    "disable": Users.disable,
    "enable": Users.enable,
    "revoke-invitation": Users.revoke_invitation,
    "force-password": Users.force_password,
    "remove-factor": Users.remove_factor,
    "end-sessions": Users.end_sessions,
}


def _add_action(name: str, act: Callable[[Users, int], Awaitable[object]]) -> None:
    async def post(users: UsersDep, user_id: UserId) -> Response:
        await act(users, user_id)
        return pages.redirect(f"/users/{user_id}?notice=done")

    router.add_api_route(f"/users/{{user_id}}/{name}", post, methods=["POST"], name=name)


for _name, _act in _ACTIONS.items():
    _add_action(_name, _act)


@router.post("/users/{user_id}/invite")
async def invite_again(request: Request, users: UsersDep, once: OnceDep, user_id: UserId) -> Response:
    """Send a new invitation: the link of the older one ends."""
    await users.invite_again(user_id)
    answer = await once.redirect(f"/users/{user_id}?notice=invited")
    answer.background = wake_after(request)
    return answer


@router.get("/users/{user_id}/delete")
async def ask_to_delete(request: Request, principal: MayManageUsers, users: UsersDep, user_id: UserId) -> Response:
    """What goes with a user, and what stays."""
    user = await users.get(user_id)
    if not await users.may_act_on(user_id):
        raise Forbidden
    points = [
        Message(N_("The user is logged out everywhere. Password, passkeys, roles and entries in own fields go.")),
        Message(N_("Programs that use the user's API tokens can do nothing any more.")),
        Message(N_("Addresses, templates and deliveries stay, and so does what the audit log says of the user.")),
    ]
    if user.status is not Status.DISABLED:
        points.append(Message(N_("To let the user in again some day, go back and choose “Stop this user” instead.")))
    question = Message(N_("Delete the user %(name)s?"), {"name": user.email})
    asked = deletions.Deletion(question, f"/users/{user_id}", [*points, deletions.FINAL])
    return deletions.ask(request, principal, asked)


@router.post("/users/{user_id}/delete")
async def delete(users: UsersDep, user_id: UserId) -> Response:
    """Remove a user."""
    await users.delete(user_id)
    return pages.redirect("/users?notice=deleted")


@router.post("/users/{user_id}/sessions/{session_id}/revoke")
async def end_session(users: UsersDep, user_id: UserId, session_id: UserId) -> Response:
    """Log one browser of a user out."""
    await users.end_session(user_id, session_id)
    return pages.redirect(f"/users/{user_id}?notice=done")


@router.get("/user-fields")
async def field_list(request: Request, principal: MasterDep, own: UserFieldsDep, notice: str = "") -> Response:
    """The tenant's own fields and a form for another."""
    empty = {"key": "", "label": "", "kind": "text", "required": False, "choices": ""}
    return await _fields_page(request, principal, own, empty, notice=notice)


@router.post("/user-fields")
async def create_field(request: Request, principal: MasterDep, own: UserFieldsDep, once: OnceDep) -> Response:
    """Define a field."""
    form = await read_form(request)
    values = {name: field(form, name) for name in ("key", "label", "kind", "choices")}
    choices = [line.strip() for line in values["choices"].splitlines() if line.strip()]
    typed = {**values, "choices": choices, "required": field(form, "required") == "yes"}
    try:
        await own.create(FieldInput.model_validate(typed))
    except (ValidationError, InvalidInput) as error:
        shown = {**values, "required": typed["required"]}
        return await _fields_page(request, principal, own, shown, errors=_errors(error))
    return await once.redirect("/user-fields?notice=saved")


@router.get("/user-fields/{field_id}/delete")
async def ask_to_delete_field(
    request: Request, principal: MasterDep, own: UserFieldsDep, state: StateDep, field_id: UserId
) -> Response:
    """What goes with a field."""
    found, holders = await own.look(field_id)
    asked = deletions.Deletion(
        Message(N_("Delete the field %(name)s?"), {"name": found.label}),
        "/user-fields",
        [
            Message(N_("Users who have something in it: %(shown)s"), {"shown": deletions.shown(holders)}),
            deletions.until_erased(state.undo_window),
        ],
    )
    return deletions.ask(request, principal, asked)


@router.post("/user-fields/{field_id}/delete")
async def delete_field(_principal: MasterDep, own: UserFieldsDep, field_id: UserId) -> Response:
    """Hide a field with its values."""
    await own.delete(field_id)
    return pages.redirect("/user-fields?notice=deleted")


@router.post("/user-fields/{field_id}/restore")
async def restore_field(_principal: MasterDep, own: UserFieldsDep, field_id: UserId) -> Response:
    """Bring a deleted field back."""
    await own.restore(field_id)
    return pages.redirect("/user-fields?notice=saved")


def _errors(error: ValidationError | InvalidInput | None) -> list[FieldError]:
    if isinstance(error, ValidationError):
        return [
            FieldError(found.field or ("choices",), found.code, found.message) for found in field_errors(error.errors())
        ]
    return error.errors if error is not None else []


def _typed(form: FormData, known: Sequence[FieldOutput]) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    for own in known:
        value = field(form, f"attributes-{own.key}")
        attributes[own.key] = {"yes": True, "no": False}.get(value) if own.kind is FieldKind.YES_NO else value
    roles = [int(value) for value in fields(form, "roles") if value.isascii() and value.isdigit() and len(value) < 20]
    return {"display_name": field(form, "display_name"), "roles": roles, "attributes": attributes}


async def _fields_page(
    request: Request,
    principal: Principal,
    own: UserFieldsDep,
    values: dict[str, Any],
    *,
    errors: list[FieldError] | None = None,
    notice: str = "",
) -> Response:
    return pages.render(
        request,
        "user_fields.html",
        principal=principal,
        status=422 if errors else 200,
        fields=await own.all(),
        deleted=await own.deleted(),
        kind_names=_KIND_NAMES,
        values=values,
        errors=pages.FormErrors(errors),
        notice_name=notice,
    )


async def _form(
    request: Request,
    principal: Principal,
    roles: Roles,
    known: Sequence[FieldOutput],
    user: UserOutput | None,
    values: dict[str, Any],
    error: ValidationError | InvalidInput | None = None,
) -> Response:
    # A field of the form has one name; the API's path has two parts.
    errors = [
        FieldError((f"attributes-{wrong.field[1]}",), wrong.code, wrong.message)
        if len(wrong.field) > 1 and wrong.field[0] == "attributes"
        else wrong
        for wrong in _errors(error)
    ]
    return pages.render(
        request,
        "user_form.html",
        principal=principal,
        status=422 if error else 200,
        user=user,
        values=values,
        roles=await roles.all(),
        may_hand_out=roles.may_hand_out,
        fields=known,
        errors=pages.FormErrors(errors),
    )
