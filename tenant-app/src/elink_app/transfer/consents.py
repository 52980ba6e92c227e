"""The consent column of an import: it adds consents where there is none, and does nothing else.

Only a clear yes counts; an empty cell and a no say nothing. An e-mail of which anything is recorded, given or
withdrawn, and one that gets no mail for any reason, stay as they are, and so do those that hidden addresses bear.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.permissions import Principal
from elink_app.addresses.models import Address, AddressEmail
from elink_app.addresses.visibility import visible
from elink_app.clock import Clock
from elink_app.consent.service import ConsentFact, Kind, consent_state, record_consent, suppressed_among
from elink_app.emails import email_key
from elink_app.jobs.models import Job
from elink_app.transfer.plan import Plan

HOW = "import"


async def add_consents(
    db: AsyncSession, principal: Principal, plan: Plan, emails: Sequence[str], job: Job, clock: Clock
) -> int:
    """Record that these people consented, as the plan says where and to what; returns how many are new."""
    keys = list(dict.fromkeys(email_key(email) for email in emails))
    if not keys or not (plan.consent_source and plan.consent_wording):
        return 0
    hidden = (
        select(AddressEmail.email_key)
        .join(Address, Address.id == AddressEmail.address_id)
        .where(AddressEmail.email_key.in_(keys), ~visible(principal))
    )
    left_alone = set((await db.scalars(hidden)).all())
    left_alone |= set(await consent_state(db, keys)) | await suppressed_among(db, keys)
    now = clock()
    facts = [
        ConsentFact(key, Kind.GIVEN, now, HOW, plan.consent_source, plan.consent_wording, job.actor)
        for key in keys
        if key not in left_alone
    ]
    await record_consent(db, facts, now, job.id)
    return len(facts)
