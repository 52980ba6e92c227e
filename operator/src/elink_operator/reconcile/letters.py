"""Telling a tenant's contacts of its cancellation, of the days left and of the undoing: once each, until accepted.

Nothing waits for these mails: an erasure that is due begins whether anybody could be told or not.
"""

from datetime import timedelta
from typing import Final

import structlog

from elink_operator import conditions
from elink_operator.api import ElinkTenant
from elink_operator.cluster.kinds import TENANT, Obj
from elink_operator.desired.letter import UNDONE, build_letter, letters_due, recipients, told_so_far
from elink_operator.reconcile.context import Context
from elink_operator.reconcile.status import write_status
from elink_operator.relay import RelayAway

log = structlog.get_logger()

_REST: Final = timedelta(seconds=60)
"""After a failure the relay is left alone for this time, whoever has a letter."""

NOT_CONFIGURED: Final = "; the contacts are not told: no sender is set (mail.from of the chart)"


async def tell_contacts(ctx: Context, name: str) -> float | None:
    """Send the letter that is due. Returns the seconds after which it should be tried again, None when all is told."""
    tenant = ctx.world.tenants.get(name)
    if tenant is None or not ctx.settings.mail_from:
        return None
    now = ctx.clock()
    due = letters_due(tenant, now)
    if not due:
        await _forget(ctx, tenant)
        return None
    if ctx.memory.relay_rests_until is not None and now < ctx.memory.relay_rests_until:
        return max(1.0, (ctx.memory.relay_rests_until - now).total_seconds())
    letter = due[-1]
    # Who has it already, when the relay went away half-way.
    had = ctx.memory.told.setdefault((tenant.metadata.uid, letter), set())
    mails = [
        build_letter(tenant, letter, sender=ctx.settings.mail_from, to=to, now=now)
        for to in recipients(tenant)
        if to not in had
    ]
    try:
        refused = await ctx.relay.send(mails)
    except RelayAway as error:
        had.update(error.accepted)
        ctx.memory.relay_rests_until = now + _REST
        ctx.metrics.contact_mails.labels("failed").inc()
        log.warning("contacts could not be told, it is tried again", tenant=name, letter=letter, error=str(error))
        return _REST.total_seconds()
    ctx.metrics.contact_mails.labels("accepted").inc(len(mails) - len(refused))
    ctx.metrics.contact_mails.labels("refused").inc(len(refused))
    await write_status(ctx, TENANT, name, {"cancellation": _told(tenant, letter, due)})
    ctx.memory.told.pop((tenant.metadata.uid, letter), None)
    await _say(ctx, name, letter, len(mails) - len(refused), len(refused))
    return None


def _told(tenant: ElinkTenant, letter: str, due: list[str]) -> Obj | None:
    """`status.cancellation` after a letter; nothing is left to remember when the undoing was told."""
    if letter == UNDONE or tenant.status.cancelled_at is None:
        return None
    return {"at": conditions.timestamp(tenant.status.cancelled_at), "told": [*told_so_far(tenant), *due]}


async def _forget(ctx: Context, tenant: ElinkTenant) -> None:
    """Nothing is due and the tenant is not cancelled: its last cancellation is history."""
    if tenant.status.cancellation is not None and tenant.status.cancelled_at is None:
        await write_status(ctx, TENANT, tenant.name, {"cancellation": None})


async def _say(ctx: Context, name: str, letter: str, accepted: int, refused: int) -> None:
    live = ctx.store.get(TENANT, None, name)
    if live is None:
        return
    if refused:
        message = (
            f"letter {letter}: the relay refused {refused} of {accepted + refused} addresses for good; correct "
            "spec.contacts.emails and tell the customer in another way"
        )
        await ctx.client.event(live, type_="Warning", reason="ContactsRefused", message=message)
    else:
        message = f"letter {letter}: the relay took the mails to all {accepted} contacts"
        await ctx.client.event(live, type_="Normal", reason="ContactsTold", message=message)
