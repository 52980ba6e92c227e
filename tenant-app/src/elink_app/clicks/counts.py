"""What an account is told of a delivery's links."""

from __future__ import annotations

from elink_app.clicks.repository import ClickRepository
from elink_app.clicks.rules import FEWEST_RECIPIENTS
from elink_app.clicks.schemas import LinkOutput, LinksOutput
from elink_app.clicks.service import links_of
from elink_app.clock import JST
from elink_app.deliveries.service import Deliveries


async def links_output(deliveries: Deliveries, delivery_id: int) -> LinksOutput:
    """The links that are counted, or would be by the content as it is. Raises NotFound.

    Numbers that could tell about one person are left out: of few recipients, and where labels hide any from the
    account.
    """
    row, _ = await deliveries.load(delivery_id)
    found = links_of(row, deliveries.base_url)
    if not row.count_clicks or row.frozen_at is None:
        urls = found.counted if row.count_clicks else ()
        items = [LinkOutput(number=at, url=url, human=None, machine=None) for at, url in enumerate(urls, 1)]
    else:
        hidden = row.total < FEWEST_RECIPIENTS or await deliveries.audience.hides()
        items = [
            LinkOutput(
                number=one.number, url=one.url, human=None if hidden else one.human,
                machine=None if hidden else one.machine,
            )
            for one in await ClickRepository(deliveries.db).counts(row.id)
        ]  # fmt: skip
    ended_at = row.clicks_ended_at.astimezone(JST) if row.clicks_ended_at is not None else None
    left = list(found.left) if row.count_clicks else []
    return LinksOutput(counting=row.count_clicks, items=items, left=left, ended_at=ended_at)
