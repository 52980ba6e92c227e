"""The way a file of a delivery comes in, for pages and API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import Request

from elink_app.accounts.permissions import Permission, Principal
from elink_app.attachments.attachment import Attachment
from elink_app.deliveries.attaching import Attaching
from elink_app.deliveries.deps import attaching_for, deliveries_in
from elink_app.deliveries.service import Deliveries
from elink_app.errors import Forbidden
from elink_app.sentforms.deps import FIELD, once_of
from elink_app.sentforms.service import SentForms, form_sha256
from elink_app.transfer.deps import room_for_files, store_of
from elink_app.transfer.service import StorageFull
from elink_app.transfer.store import Shelf
from elink_app.web import uploads
from elink_app.web.deps import actor_of, current_principal
from elink_app.web.state import state_of, tenant_of


@asynccontextmanager
async def desk(request: Request, principal: Principal) -> AsyncIterator[tuple[Deliveries, Attaching]]:
    """Deliveries and their files in a transaction of their own."""
    state, tenant = state_of(request), tenant_of(request)
    async with state.databases.transaction(tenant) as db:
        found = deliveries_in(db, state, tenant, principal)
        yield found, attaching_for(found, state, tenant)


async def may_attach(request: Request) -> Principal:
    """Who asks. Found out before anything is written; raises Unauthenticated, Forbidden."""
    principal = await current_principal(request, state_of(request))
    if not principal.may(Permission.DELIVERIES_DRAFT):
        raise Forbidden
    return principal


async def receive(request: Request, principal: Principal, delivery_id: int, led_to: str) -> Attachment:
    """Take a form with one file in and attach it. No transaction is open while it comes in.

    Raises what `Attaching.add` does, StorageFull, and SentBefore for a form that was sent before and led to `led_to`.
    """
    state, tenant = state_of(request), tenant_of(request)
    store = store_of(state)
    room = await room_for_files(state, tenant)
    async with desk(request, principal) as (deliveries, _):
        await deliveries.load(delivery_id)
    file = store.new(tenant, Shelf.ATTACHMENTS)
    path = store.path(tenant, Shelf.ATTACHMENTS, file)
    try:
        received = await _received(request, path, room)
        async with desk(request, principal) as (deliveries, attaching):
            if received is None:
                raise attaching.too_large()
            new = await attaching.look(file, received.name, received.sha256)
            typed = [("name", new.name), ("sha256", new.sha256)]
            form = form_sha256(received.fields.get(FIELD, ""), request.url.path, typed)
            once = await once_of(SentForms(deliveries.db, principal.account_id, state.clock), form)
            made = await attaching.add(actor_of(request, principal), delivery_id, new)
            await once.made(led_to)
            return made
    except BaseException:
        path.unlink(missing_ok=True)
        raise


async def _received(request: Request, path: Path, room: int | None) -> uploads.Received | None:
    """What came; None when it was more than a delivery's files may be together. Raises StorageFull."""
    limit = state_of(request).settings.attachments_limit_bytes
    try:
        return await uploads.receive_form(request, path, limit if room is None else min(limit, room))
    except uploads.NoRoom:
        await uploads.drain(request)
        if room is not None and room < limit:
            raise StorageFull from None
        return None
