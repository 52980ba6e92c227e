"""Results of deliveries go over to the address that others were merged into, before those are erased for good.

A merged address bore no label that the kept one did not get: whoever sees the kept one may see what was sent to both.
While a merge can be undone its results stay where they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from elink_app.addresses.models import Address, AddressEmail
from elink_app.deliveries.models import Delivery, DeliveryRecipient
from elink_app.duplicates.models import Merge


async def hand_on_results(session: AsyncSession, address_ids: Sequence[int]) -> None:
    """Of these addresses, which are about to be erased."""
    heirs = _last(await _heirs(session, address_ids))
    for gone, kept in heirs.items():
        keys = select(AddressEmail.email_key).where(AddressEmail.address_id == gone)
        # By e-mail, which an index finds in each delivery: there is none by address.
        results = update(DeliveryRecipient).where(
            DeliveryRecipient.delivery_id.in_(select(Delivery.id)),
            DeliveryRecipient.email_key.in_(keys),
            DeliveryRecipient.address_id == gone,
        )
        await session.execute(results.values(address_id=kept).execution_options(synchronize_session=False))


async def _heirs(session: AsyncSession, address_ids: Sequence[int]) -> dict[int, int]:
    """By merged address the one that was kept. An undone merge left an address that was deleted at another moment."""
    merged = select(Merge.kept_id, Merge.at, func.unnest(Merge.merged_ids).label("gone")).subquery()
    address = aliased(Address)
    statement = (
        select(merged.c.gone, merged.c.kept_id)
        .join(address, (address.id == merged.c.gone) & (address.deleted_at == merged.c.at))
        .where(merged.c.gone.in_(address_ids))
    )
    return {row[0]: row[1] for row in await session.execute(statement)}


def _last(heirs: Mapping[int, int]) -> dict[int, int]:
    """The kept one may have been merged into another, and so on."""
    found = {}
    for gone, first in heirs.items():
        kept, seen = first, {gone}
        while kept in heirs and kept not in seen:
            seen.add(kept)
            kept = heirs[kept]
        found[gone] = kept
    return found
