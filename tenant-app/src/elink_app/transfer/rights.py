"""What the account that asked for a job may reach. Kept with the job as it was at that moment."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.permissions import NONE, Principal
from elink_app.addresses.models import Tag
from elink_app.addresses.repository import AddressRepository
from elink_app.addresses.visibility import Action, forbidden_labels
from elink_app.jobs.models import Job


def kept_rights(principal: Principal) -> dict[str, Any]:
    """For the parameters of a job."""
    return {"is_master": principal.is_master, "roles": sorted(principal.roles)}


def asked_by(job: Job) -> Principal:
    """Who asked for the job, with the labels that they reached then. It has no permissions: those were checked."""
    rights = job.parameters.get("rights", {})
    return Principal(
        account_id=job.account_id or 0,
        email=job.actor,
        display_name="",
        is_master=bool(rights.get("is_master")),
        permissions=NONE,
        session_id=None,
        roles=frozenset(rights.get("roles", [])),
    )


async def hidden_labels(db: AsyncSession, principal: Principal, action: Action = Action.SEE) -> dict[int, str]:
    """Id and key of the labels whose addresses do not exist for the account."""
    statement = select(Tag.id, Tag.key).where(Tag.id.in_(forbidden_labels(principal, action)))
    return {row.id: row.key for row in await db.execute(statement)}


async def plan_usage(db: AsyncSession, *, lock: bool = False) -> int:
    """How many addresses there are, hidden ones too; with `lock` nobody else adds one before the end."""
    rows = AddressRepository(db, Principal(0, "", "", False, NONE, None))
    return await (rows.lock_usage() if lock else rows.usage())
