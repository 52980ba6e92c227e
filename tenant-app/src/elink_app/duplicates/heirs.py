"""Results of deliveries go over to the address that others were merged into, before those are erased for good.

A merged address bore no label that the kept one did not get: whoever sees the kept one may see what was sent to both.
While a merge can be undone its results stay where they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import ARRAY, BigInteger, cast, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from elink_app.addresses.models import Address
from elink_app.deliveries.models import DeliveryRecipient
from elink_app.duplicates.models import Merge


async def hand_on_results(session: AsyncSession, address_ids: Sequence[int]) -> None:
    """Of these addresses, which are about to be erased. One look through all results: no index finds an address in it,
    and one by e-mail would miss those that it had before."""
    heirs = _last(await _heirs(session, address_ids))
    if not heirs:
        return
    columns = [cast(list(ids), ARRAY(BigInteger)) for ids in (heirs.keys(), heirs.values())]
    pairs = func.unnest(*columns).table_valued("gone", "kept").render_derived()
    results = update(DeliveryRecipient).where(DeliveryRecipient.address_id == pairs.c.gone)
    await session.execute(results.values(address_id=pairs.c.kept).execution_options(synchronize_session=False))


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
