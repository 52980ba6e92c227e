"""Templates and images as dependencies of pages and API."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from elink_app.accounts.permissions import Permission, Principal
from elink_app.templates.service import Images, Templates
from elink_app.web.deps import DbDep, StateDep, TenantDep, require
from elink_app.web.state import state_of, tenant_of


def base_url(request: Request) -> str:
    """Where this tenant is on the web, as mails name it."""
    return state_of(request).base_url(tenant_of(request))


BaseUrlDep = Annotated[str, Depends(base_url)]


def templates(db: DbDep, state: StateDep, tenant: TenantDep, url: BaseUrlDep) -> Templates:
    """The tenant's templates in the request's transaction."""
    return Templates(db, tenant, state.clock, url)


def images(db: DbDep, state: StateDep, tenant: TenantDep) -> Images:
    """The tenant's images in the request's transaction."""
    return Images(db, tenant, state.clock, state.settings.tenants_dir)


TemplatesDep = Annotated[Templates, Depends(templates)]
ImagesDep = Annotated[Images, Depends(images)]
MayEditTemplates = Annotated[Principal, Depends(require(Permission.TEMPLATES_EDIT))]
