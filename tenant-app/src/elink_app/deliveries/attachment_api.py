"""`/api/v1/deliveries/{id}/attachments`: the same rules as the pages, as JSON."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response, status

from elink_app.deliveries.api import Id
from elink_app.deliveries.attachment_routes import Sha256, file_response
from elink_app.deliveries.deps import AttachingDep, MayDraft, MaySee
from elink_app.deliveries.receiving import may_attach, receive
from elink_app.deliveries.schemas import AttachmentOutput
from elink_app.deliveries.service import attachment_output
from elink_app.web.deps import ActorDep
from elink_app.web.openapi import problems

router = APIRouter(
    prefix="/api/v1/deliveries/{delivery_id}/attachments", tags=["deliveries"], responses=problems(401, 403, 404, 503)
)

_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                },
                "examples": {"pdf": {"value": {"file": "お見積書.pdf"}}},
            }
        },
    }
}
_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get("", responses=problems(422))
async def list_attachments(_principal: MaySee, attaching: AttachingDep, delivery_id: Id) -> list[AttachmentOutput]:
    """The files that go with the delivery (three at most)."""
    return list(await attaching.all(delivery_id))


@router.post("", status_code=status.HTTP_201_CREATED, responses=problems(409, 413, 422), openapi_extra=_FORM)
async def add_attachment(request: Request, delivery_id: Id, response: Response) -> AttachmentOutput:
    """Attach a file: a form with one part `file`. An approval is taken back by it.

    Accepted are pdf, docx, xlsx, pptx, png, jpg, gif, webp, txt, csv and ics, 2 MB together; 422 says what is wrong.
    """
    made = await receive(request, await may_attach(request), delivery_id, f"/deliveries/{delivery_id}")
    response.headers["Location"] = f"/api/v1/deliveries/{delivery_id}/attachments/{made.sha256}"
    return attachment_output(made)


@router.get("/{sha256}", responses={**problems(422), **_FILE}, response_class=Response)
async def get_attachment(_principal: MaySee, attaching: AttachingDep, delivery_id: Id, sha256: Sha256) -> Response:
    """One file as it was uploaded."""
    return file_response(*await attaching.read(delivery_id, sha256))


@router.delete("/{sha256}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(409, 422))
async def remove_attachment(
    _principal: MayDraft, actor: ActorDep, attaching: AttachingDep, delivery_id: Id, sha256: Sha256
) -> None:
    """Take a file off. An approval is taken back by it. When the delivery has ended, the file's content is deleted and
    the record keeps name, size and hash; 409 while it is on its way."""
    await attaching.remove(actor, delivery_id, sha256)
