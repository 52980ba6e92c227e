"""Deliveries as a dependency of pages and API."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.permissions import Permission, Principal
from elink_app.deliveries.attaching import Attaching
from elink_app.deliveries.running import Running
from elink_app.deliveries.service import Deliveries
from elink_app.errors import Forbidden
from elink_app.registry.tenant import Tenant
from elink_app.templates.deps import BaseUrlDep, TemplatesDep
from elink_app.templates.service import Templates
from elink_app.transfer.deps import store_of
from elink_app.web.deps import DbDep, PrincipalDep, StateDep, TenantDep, require
from elink_app.web.state import WebState

_ANY = (Permission.DELIVERIES_DRAFT, Permission.DELIVERIES_APPROVE, Permission.DELIVERIES_SEND)


async def _may_see(principal: PrincipalDep) -> Principal:
    if not any(principal.may(permission) for permission in _ANY):
        raise Forbidden
    return principal


MaySee = Annotated[Principal, Depends(_may_see)]
MayDraft = Annotated[Principal, Depends(require(Permission.DELIVERIES_DRAFT))]
MayApprove = Annotated[Principal, Depends(require(Permission.DELIVERIES_APPROVE))]
MaySend = Annotated[Principal, Depends(require(Permission.DELIVERIES_SEND))]


async def _may_see_people(principal: MaySee) -> Principal:
    if not principal.may(Permission.ADDRESSES_VIEW):
        raise Forbidden
    return principal


async def _may_export(principal: Annotated[Principal, Depends(_may_see_people)]) -> Principal:
    if not principal.may(Permission.ADDRESSES_EXPORT):
        raise Forbidden
    return principal


# Recipients are people of the address book.
MaySeePeople = Annotated[Principal, Depends(_may_see_people)]
MayExportPeople = Annotated[Principal, Depends(_may_export)]


def deliveries_in(db: AsyncSession, state: WebState, tenant: Tenant, principal: Principal) -> Deliveries:
    """The tenant's deliveries in a transaction that is not the request's."""
    url = state.base_url(tenant)
    return Deliveries(db, state.clock, url, principal, Templates(db, tenant, state.clock, url))


def deliveries(
    db: DbDep, state: StateDep, url: BaseUrlDep, principal: PrincipalDep, templates: TemplatesDep
) -> Deliveries:
    """The tenant's deliveries in the request's transaction."""
    return Deliveries(db, state.clock, url, principal, templates)


DeliveriesDep = Annotated[Deliveries, Depends(deliveries)]


def attaching_for(found: Deliveries, state: WebState, tenant: Tenant) -> Attaching:
    """The files of deliveries in the transaction of `found`."""
    return Attaching(found, tenant, store_of(state), state.settings.attachments_limit_bytes)


def attaching(found: DeliveriesDep, state: StateDep, tenant: TenantDep) -> Attaching:
    """The same in the request's transaction."""
    return attaching_for(found, state, tenant)


AttachingDep = Annotated[Attaching, Depends(attaching)]


def running(found: DeliveriesDep) -> Running:
    """The same from the order to send on."""
    return Running(found)


RunningDep = Annotated[Running, Depends(running)]
