"""Pages of the files that go with a delivery."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from elink_app.attachments.attachment import Attachment
from elink_app.deliveries.deps import AttachingDep, MayDraft, MaySee
from elink_app.deliveries.errors import WrongState
from elink_app.deliveries.receiving import desk, may_attach, receive
from elink_app.deliveries.routes import Id, refused
from elink_app.deliveries.states import ENDED
from elink_app.errors import InvalidInput
from elink_app.messages import N_, Message
from elink_app.transfer.service import StorageFull
from elink_app.web import deletions, pages
from elink_app.web.deps import ActorDep

router = APIRouter(include_in_schema=False, prefix="/deliveries/{delivery_id}/attachments")

Sha256 = Annotated[str, Path(pattern="^[0-9a-f]{64}$", examples=["0" * 64])]


@router.post("")
async def attach(request: Request, delivery_id: Id) -> Response:
    """Attach a file."""
    principal = await may_attach(request)
    led_to = f"/deliveries/{delivery_id}?notice=attached#attachments"
    try:
        await receive(request, principal, delivery_id, led_to)
    except (InvalidInput, StorageFull, WrongState) as error:
        async with desk(request, principal) as (deliveries, _):
            return await refused(request, principal, deliveries, delivery_id, error)
    return pages.redirect(led_to)


@router.get("/{sha256}")
async def download(_principal: MaySee, attaching: AttachingDep, delivery_id: Id, sha256: Sha256) -> Response:
    """One file, for whoever may see the delivery."""
    return file_response(*await attaching.read(delivery_id, sha256))


@router.get("/{sha256}/delete")
async def ask_to_remove(
    request: Request, principal: MayDraft, attaching: AttachingDep, delivery_id: Id, sha256: Sha256
) -> Response:
    """What goes with a file."""
    found, state = await attaching.get(delivery_id, sha256)
    if state in ENDED:
        points = [
            Message(N_("Its name, size and fingerprint stay on record. The space it takes is free soon.")),
            Message(N_("Mails of this delivery can no longer be sent again.")),
        ]
    else:
        points = [Message(N_("Recipients get the mail without it. Saving takes the approval back."))]
    question = Message(N_("Delete the file %(name)s?"), {"name": found.name})
    asked = deletions.Deletion(question, f"/deliveries/{delivery_id}#attachments", [*points, deletions.FINAL])
    return deletions.ask(request, principal, asked)


@router.post("/{sha256}/delete")
async def remove(
    request: Request, principal: MayDraft, actor: ActorDep, attaching: AttachingDep, delivery_id: Id, sha256: Sha256
) -> Response:
    """Take a file off, or delete what was sent."""
    done = await attaching.remove(actor, delivery_id, sha256)
    return pages.redirect(f"/deliveries/{delivery_id}?notice={done}#attachments")


def file_response(found: Attachment, content: bytes) -> Response:
    """To be saved, not shown: nothing in it runs as a part of this site."""
    return Response(
        content,
        headers={
            "Content-Type": found.media_type,
            "Content-Disposition": f"attachment; filename*=utf-8''{quote(found.name, safe='')}",
            "Content-Security-Policy": "default-src 'none'; sandbox",
        },
    )
