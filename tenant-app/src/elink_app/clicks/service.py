"""The rules of counted links: which there are, where a token leads, and what a visit counts for."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.clicks.repository import ClickRepository
from elink_app.clicks.rules import BURST, COUNTED_FOR, Visit, is_burst, is_too_soon
from elink_app.deliveries.footer import without_footer
from elink_app.deliveries.models import Delivery
from elink_app.deliveries.states import Category
from elink_app.errors import NotFound
from elink_app.mail.compose import click_url, unsubscribe_url
from elink_app.mail.links import Found, find, location
from elink_app.mail.tokens import ClickIds, ClickTokens, click_ids
from elink_app.registry.tenant import Tenant


@dataclass(frozen=True)
class Target:
    """Where a link leads, in ASCII, and whose it is."""

    location: str
    ids: ClickIds


def links_of(row: Delivery, base_url: str) -> Found:
    """The links of a delivery's content. Those of the footer are not counted: the law wants them as they are."""
    never = [unsubscribe_url(base_url, ""), click_url(base_url, "")]
    text, footer = without_footer(row.text_body) if row.category == Category.ADVERT else (row.text_body, "")
    found = find(text, row.html_body, never=never)
    kept = set(find(footer, "").counted)
    return Found(tuple(url for url in found.counted if url not in kept), found.left)


async def freeze_links(db: AsyncSession, row: Delivery, base_url: str) -> None:
    """Keep what may be redirected to; with the audience, when the order to send is given."""
    if row.count_clicks:
        await ClickRepository(db).freeze(row.id, links_of(row, base_url).counted)


async def forget_links(db: AsyncSession, delivery_id: int) -> None:
    """Undo `freeze_links`."""
    await ClickRepository(db).forget(delivery_id)


class Clicks:
    """Visits of one tenant's links within one transaction."""

    def __init__(self, session: AsyncSession, tenant: Tenant) -> None:
        self._rows = ClickRepository(session)
        self._tenant = tenant

    async def target(self, token: str) -> Target:
        """Where the link leads. Raises NotFound for a token that was not made for this tenant and this host."""
        ids = click_ids(token)
        found = await self._rows.target(ids) if ids is not None else None
        if ids is None or found is None:
            raise NotFound
        tenant = self._tenant
        tokens = ClickTokens(found.secret, tenant.uid or tenant.name, tenant.host, ids.delivery_id, found.frozen)
        where = location(found.url)
        if where is None or not hmac.compare_digest(tokens.token(ids.recipient_id, ids.number), token):
            raise NotFound
        return Target(where, ids)

    async def count(self, ids: ClickIds, now: datetime, *, fetched_ahead: bool) -> Visit:
        """Write a visit down."""
        mail_at = await self._rows.mail_at(ids, now - COUNTED_FOR)
        if mail_at is None:
            return Visit.LATE
        await self._rows.hold_recipient(ids)
        burst = is_burst(now, await self._rows.others_seen_at(ids))
        human = not (burst or fetched_ahead or is_too_soon(now, mail_at))
        await self._rows.add(ids, now, now if human else None)
        if burst:
            await self._rows.doubt(ids, now - BURST, now + BURST)
        return Visit.HUMAN if human else Visit.MACHINE
