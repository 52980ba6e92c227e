"""`/api/v1/account`, `/api/v1/settings/security` and `/api/v1/master-offer`. For log-ins only, never for tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response, status

from elink_app.accounts.permissions import Principal
from elink_app.clock import JST
from elink_app.errors import NotFound
from elink_app.passkeys.deps import OwnPasskeysDep
from elink_app.passkeys.schemas import PasskeyName, PasskeyOutput
from elink_app.security.deps import CredentialsDep, MasterSettingsDep, OwnFactorDep
from elink_app.security.master import MasterSettings
from elink_app.security.rules import FactorRule
from elink_app.security.schemas import (
    FactorsOutput,
    OfferInput,
    OfferOutput,
    PasswordInput,
    Proof,
    RecoveryCodesOutput,
    SecurityRulesInput,
)
from elink_app.web import cookies
from elink_app.web.deps import InPersonDep, MasterDep, StateDep, TenantDep
from elink_app.web.openapi import problems
from elink_app.web.state import client_of

router = APIRouter(prefix="/api/v1", tags=["security"], responses=problems(401, 403, 503))

_FACTORS = "/account/factors"
PasskeyId = Annotated[int, Path(ge=1, le=2**63 - 1, examples=[1])]


@router.post("/account/password", status_code=status.HTTP_204_NO_CONTENT, responses=problems(422, 429))
async def change_password(
    request: Request,
    response: Response,
    state: StateDep,
    tenant: TenantDep,
    principal: InPersonDep,
    data: PasswordInput,
) -> None:
    """Change the own password, also when a new one is demanded. Every session ends; the answer sets the cookie of a
    new one, so get a new `csrf_token`."""
    secret = await state.accounts.change_password(
        tenant, principal, data.current_password, data.password, data.password, client_of(request)
    )
    cookies.set_session(response, secret, int(state.session_policy.absolute.total_seconds()))


@router.get(_FACTORS)
async def list_factors(factor: OwnFactorDep) -> FactorsOutput:
    """The caller's second factors. Passkeys and the codes of an app are set up on the pages."""
    state = await factor.state()
    return FactorsOutput(totp=state.totp, passkeys=state.passkeys, recovery_codes=state.recovery_codes)


@router.post(f"{_FACTORS}/recovery-codes", responses=problems(404, 422, 429))
async def renew_recovery_codes(
    request: Request, state: StateDep, tenant: TenantDep, principal: InPersonDep, factor: OwnFactorDep, data: Proof
) -> RecoveryCodesOutput:
    """New recovery codes in place of the old ones. 404 without second factor, or where they let nobody in."""
    await state.accounts.prove(tenant, principal, data.current_password, client_of(request))
    return RecoveryCodesOutput(codes=await factor.renew_codes())


@router.post(
    f"{_FACTORS}/totp/remove", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 422, 429)
)  # fmt: skip
async def remove_totp(
    request: Request, state: StateDep, tenant: TenantDep, principal: InPersonDep, factor: OwnFactorDep, data: Proof
) -> None:
    """Switch the one-time codes of an app off. 404 while they are off."""
    await state.accounts.prove(tenant, principal, data.current_password, client_of(request))
    await factor.remove()


@router.put(f"{_FACTORS}/passkeys/{{passkey_id}}", responses=problems(404, 422))
async def rename_passkey(own: OwnPasskeysDep, passkey_id: PasskeyId, data: PasskeyName) -> PasskeyOutput:
    """Give one of the own passkeys another name."""
    return await own.rename(passkey_id, data)


@router.post(
    f"{_FACTORS}/passkeys/{{passkey_id}}/remove",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(404, 422, 429),
)
async def remove_passkey(
    request: Request,
    state: StateDep,
    tenant: TenantDep,
    principal: InPersonDep,
    own: OwnPasskeysDep,
    passkey_id: PasskeyId,
    data: Proof,
) -> None:
    """Forget one of the own passkeys."""
    await state.accounts.prove(tenant, principal, data.current_password, client_of(request))
    await own.remove(passkey_id)


@router.get("/settings/security")
async def get_rules(_principal: MasterDep, rules: MasterSettingsDep) -> SecurityRulesInput:
    """What the master demands of everybody. The master only."""
    return SecurityRulesInput(**(await rules.factor_rule()).boxes)


@router.put("/settings/security", responses=problems(422))
async def save_rules(principal: MasterDep, rules: MasterSettingsDep, data: SecurityRulesInput) -> SecurityRulesInput:
    """Demand a second factor, or a passkey, of everybody, or no longer. The master only; a passkey only with one."""
    rule = FactorRule.of(second_factor=data.second_factor_for_all, passkeys_only=data.passkeys_only)
    await rules.demand(rule, principal)
    return SecurityRulesInput(**rule.boxes)


@router.get("/master-offer", responses=problems(404))
async def get_offer(principal: InPersonDep, rules: MasterSettingsDep) -> OfferOutput:
    """The standing offer of the master's place. 404 for anybody but the master and whom it is offered to."""
    return await _offer(principal, rules)


@router.post("/master-offer", status_code=status.HTTP_201_CREATED, responses=problems(422, 429))
async def offer_master(
    request: Request,
    state: StateDep,
    tenant: TenantDep,
    principal: MasterDep,
    links: CredentialsDep,
    rules: MasterSettingsDep,
    data: OfferInput,
) -> OfferOutput:
    """Offer the master's place to an active user, who is told by mail and has 72 hours. An older offer ends."""
    base_url = state.base_url(tenant)
    await links.offer_master(tenant, principal, data.to, data.current_password, client_of(request), base_url)
    await state.wakeups.wake(tenant.name)
    return await _offer(principal, rules)


@router.post("/master-offer/accept", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 422, 429))
async def accept_master(
    request: Request, tenant: TenantDep, principal: InPersonDep, links: CredentialsDep, data: Proof
) -> None:
    """Become the master; the old master becomes a user without roles. 404 when nothing is offered to the caller."""
    await links.accept_master(tenant, principal, data.current_password, client_of(request))


@router.delete("/master-offer", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404))
async def end_offer(principal: InPersonDep, rules: MasterSettingsDep) -> None:
    """The master withdraws the offer, or the other declines it."""
    await rules.end_offer(principal)


async def _offer(principal: Principal, rules: MasterSettings) -> OfferOutput:
    found = await rules.offer()
    if found is None or not (principal.is_master or principal.account_id == found.to_id):
        raise NotFound
    return OfferOutput(
        to=found.to_id, email=found.to_email, expires_at=found.expires_at.astimezone(JST), undelivered=found.undelivered
    )  # fmt: skip
