"""Pages of roles."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import ValidationError
from starlette.datastructures import FormData
from starlette.responses import Response

from elink_app.accounts.permissions import Permission, Principal
from elink_app.errors import Forbidden, InvalidInput
from elink_app.messages import N_, Message
from elink_app.roles.deps import RolesDep
from elink_app.roles.schemas import RoleInput, RoleOutput
from elink_app.roles.service import RoleInUse, Roles
from elink_app.sentforms.deps import OnceDep
from elink_app.validation import field_errors
from elink_app.web import deletions, pages
from elink_app.web.deps import MayManageUsers
from elink_app.web.forms import field, fields, read_form

router = APIRouter(include_in_schema=False)

RoleId = Annotated[int, Path(ge=1, le=2**63 - 1)]

PERMISSION_NAMES = {
    Permission.ADDRESSES_VIEW: N_("See addresses"),
    Permission.ADDRESSES_EDIT: N_("Change addresses"),
    Permission.ADDRESSES_EXPORT: N_("Export addresses"),
    Permission.DELIVERIES_DRAFT: N_("Write deliveries"),
    Permission.DELIVERIES_APPROVE: N_("Approve deliveries"),
    Permission.DELIVERIES_SEND: N_("Send deliveries"),
    Permission.TEMPLATES_EDIT: N_("Change templates"),
    Permission.USERS_MANAGE: N_("Manage users"),
    Permission.SETTINGS_MANAGE: N_("Change settings"),
    Permission.AUDIT_VIEW: N_("See the audit log"),
    Permission.UTILITIES_RUN: N_("Run utilities"),
}


@router.get("/roles")
async def role_list(request: Request, principal: MayManageUsers, roles: RolesDep, notice: str = "") -> Response:
    """All roles and what they grant."""
    return pages.render(
        request,
        "roles.html",
        principal=principal,
        roles=await roles.all(),
        may_change=roles.may_change,
        names=PERMISSION_NAMES,
        notice_name=notice,
    )


@router.get("/roles/new")
async def new_form(request: Request, principal: MayManageUsers, roles: RolesDep) -> Response:
    """An empty form."""
    return _form(request, principal, roles, None, {"name": "", "permissions": []})


@router.post("/roles")
async def create(request: Request, principal: MayManageUsers, roles: RolesDep, once: OnceDep) -> Response:
    """Define a role."""
    form = await read_form(request)
    try:
        await roles.create(RoleInput.model_validate(_typed(form)))
    except (ValidationError, InvalidInput) as error:
        return _form(request, principal, roles, None, _typed(form), error)
    return await once.redirect("/roles?notice=saved")


@router.get("/roles/{role_id}")
async def edit_form(request: Request, principal: MayManageUsers, roles: RolesDep, role_id: RoleId) -> Response:
    """The form with what is saved."""
    role = await roles.get(role_id)
    if not roles.may_change(role):
        raise Forbidden
    return _form(request, principal, roles, role, role.model_dump())


@router.post("/roles/{role_id}")
async def save(request: Request, principal: MayManageUsers, roles: RolesDep, role_id: RoleId) -> Response:
    """Save a changed role."""
    form = await read_form(request)
    role = await roles.get(role_id)
    try:
        await roles.update(role_id, RoleInput.model_validate(_typed(form)))
    except (ValidationError, InvalidInput) as error:
        return _form(request, principal, roles, role, _typed(form), error)
    return pages.redirect("/roles?notice=saved")


@router.get("/roles/{role_id}/delete")
async def ask_to_delete(request: Request, principal: MayManageUsers, roles: RolesDep, role_id: RoleId) -> Response:
    """What goes with a role, or who has it still."""
    return await _asked(request, principal, roles, role_id)


@router.post("/roles/{role_id}/delete")
async def delete(request: Request, principal: MayManageUsers, roles: RolesDep, role_id: RoleId) -> Response:
    """Remove a role."""
    try:
        await roles.delete(role_id)
    except RoleInUse as error:
        return await _asked(request, principal, roles, role_id, status=error.status)
    return pages.redirect("/roles?notice=deleted")


async def _asked(
    request: Request, principal: Principal, roles: Roles, role_id: int, *, status: int = 200
) -> Response:  # fmt: skip
    role = await roles.get(role_id)
    if not roles.may_change(role):
        raise Forbidden
    holders = await roles.holders(role_id)
    points = [Message(N_("Nobody has this role."))]
    # Which labels there are is the master's to know.
    if principal.is_master and (labels := await roles.labels_naming(role_id)):
        points.append(
            Message(N_("Information labels that name it no longer do: %(shown)s"), {"shown": deletions.shown(labels)})
        )
    asked = deletions.Deletion(
        Message(N_("Delete the role %(name)s?"), {"name": role.name}),
        "/roles",
        [*points, deletions.FINAL],
        RoleInUse([email for _, email in holders]) if holders else None,
        Message(N_("Take the role from these users first:")),
        [(f"/users/{account_id}/edit", email) for account_id, email in holders],
    )
    return deletions.ask(request, principal, asked, status=status)


def _typed(form: FormData) -> dict[str, Any]:
    return {"name": field(form, "name"), "permissions": fields(form, "permissions")}


def _form(
    request: Request,
    principal: Principal,
    roles: Roles,
    role: RoleOutput | None,
    values: dict[str, Any],
    error: ValidationError | InvalidInput | None = None,
) -> Response:
    errors = field_errors(error.errors()) if isinstance(error, ValidationError) else error.errors if error else []
    return pages.render(
        request,
        "role_form.html",
        principal=principal,
        status=422 if error else 200,
        role=role,
        values=values,
        grantable=roles.grantable,
        names=PERMISSION_NAMES,
        errors=pages.FormErrors(errors),
    )
