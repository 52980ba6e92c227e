"""Pages of what the master decides: the rules for all, and who takes his place."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from elink_app.accounts.permissions import Principal
from elink_app.errors import InvalidInput, NotFound
from elink_app.security.deps import CredentialsDep, MasterSettingsDep
from elink_app.security.master import MasterSettings
from elink_app.security.rules import FactorRule
from elink_app.web import pages
from elink_app.web.deps import InPersonDep, MasterDep, StateDep, TenantDep
from elink_app.web.forms import field, read_form
from elink_app.web.state import client_of

router = APIRouter(include_in_schema=False)


@router.get("/settings/security")
async def rules_page(
    request: Request, principal: MasterDep, rules: MasterSettingsDep, notice: Annotated[str, Query()] = ""
) -> Response:
    """What the master demands of all."""
    return _rules_page(request, principal, await rules.factor_rule(), notice=notice)


@router.post("/settings/security")
async def save_rules(request: Request, principal: MasterDep, rules: MasterSettingsDep) -> Response:
    """Save the rules."""
    form = await read_form(request)
    wanted = FactorRule.of(
        second_factor=field(form, "second_factor_for_all") == "yes", passkeys_only=field(form, "passkeys_only") == "yes"
    )
    try:
        await rules.demand(wanted, principal)
    except InvalidInput as error:
        return _rules_page(request, principal, wanted, errors=pages.FormErrors(error.errors))
    return pages.redirect("/settings/security?notice=saved")


def _rules_page(
    request: Request,
    principal: Principal,
    rule: FactorRule,
    *,
    errors: pages.FormErrors | None = None,
    notice: str = "",
) -> Response:
    return pages.render(
        request,
        "security.html",
        principal=principal,
        status=422 if errors else 200,
        rule=rule,
        errors=errors or pages.FormErrors(),
        notice_name=notice,
    )


@router.get("/settings/master")
async def transfer_page(
    request: Request, principal: InPersonDep, rules: MasterSettingsDep, notice: str = ""
) -> Response:
    """The transfer as the master and the one to whom it is offered see it; for others there is nothing here."""
    return await _transfer_page(request, principal, rules, notice=notice)


@router.post("/settings/master")
async def offer_master(
    request: Request,
    principal: MasterDep,
    tenant: TenantDep,
    links: CredentialsDep,
    rules: MasterSettingsDep,
    state: StateDep,
) -> Response:
    """Offer the master's place."""
    form = await read_form(request)
    to, password = field(form, "to"), field(form, "current_password")
    wanted = int(to) if to.isascii() and to.isdigit() and len(to) < 19 else 0
    try:
        await links.offer_master(tenant, principal, wanted, password, client_of(request), state.base_url(tenant))
    except InvalidInput as error:
        return await _transfer_page(request, principal, rules, errors=pages.FormErrors(error.errors), chosen=wanted)
    await state.wakeups.wake(tenant.name)
    return pages.redirect("/settings/master?notice=offered")


@router.post("/settings/master/accept")
async def accept_master(
    request: Request, principal: InPersonDep, tenant: TenantDep, links: CredentialsDep, rules: MasterSettingsDep
) -> Response:
    """Become the master."""
    form = await read_form(request)
    try:
        await links.accept_master(tenant, principal, field(form, "current_password"), client_of(request))
    except InvalidInput as error:
        return await _transfer_page(request, principal, rules, errors=pages.FormErrors(error.errors))
    return pages.redirect("/settings/master?notice=accepted")


@router.post("/settings/master/end")
async def end_offer(principal: InPersonDep, rules: MasterSettingsDep) -> Response:
    """Withdraw or decline the offer."""
    await rules.end_offer(principal)
    return pages.redirect("/settings/master?notice=ended" if principal.is_master else "/")


async def _transfer_page(
    request: Request,
    principal: Principal,
    rules: MasterSettings,
    *,
    errors: pages.FormErrors | None = None,
    notice: str = "",
    chosen: int = 0,
) -> Response:
    offer = await rules.offer()
    if not principal.is_master and (offer is None or offer.to_id != principal.account_id):
        raise NotFound
    return pages.render(
        request,
        "transfer.html",
        principal=principal,
        status=422 if errors else 200,
        offer=offer,
        candidates=await rules.candidates() if principal.is_master else [],
        chosen=chosen,
        errors=errors or pages.FormErrors(),
        notice_name=notice,
    )
