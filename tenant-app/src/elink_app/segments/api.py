"""`/api/v1/segments`: saved questions to the address book."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response, status

from elink_app.addresses import service as addresses
from elink_app.addresses.deps import BookDep
from elink_app.addresses.repository import Order
from elink_app.addresses.schemas import AddressPage
from elink_app.segments.compile import tree_members
from elink_app.segments.deps import SegmentsDep
from elink_app.segments.schemas import SegmentInput, SegmentOutput, SegmentPreview, SegmentUpdate, TreeInput
from elink_app.web.deps import MayEdit, MayView
from elink_app.web.openapi import problems

router = APIRouter(prefix="/api/v1/segments", tags=["segments"], responses=problems(401, 403, 503))

SegmentId = Annotated[int, Path(ge=1, le=2**63 - 1, examples=[1])]


@router.get("")
async def list_segments(_principal: MayView, segments: SegmentsDep) -> list[SegmentOutput]:
    """All segments, by name."""
    return await segments.all()


@router.post("", status_code=status.HTTP_201_CREATED, responses=problems(422))
async def create_segment(
    _principal: MayEdit, segments: SegmentsDep, data: SegmentInput, response: Response
) -> SegmentOutput:
    """Save a new segment."""
    made = await segments.create(data)
    response.headers["Location"] = f"/api/v1/segments/{made.id}"
    return made


@router.post("/preview", responses=problems(422))
async def preview_segment(_principal: MayView, segments: SegmentsDep, data: TreeInput) -> SegmentPreview:
    """Try a tree without saving it: the exact count and the first addresses."""
    return await segments.preview(data.tree)


@router.get("/{segment_id}", responses=problems(404, 422))
async def get_segment(_principal: MayView, segments: SegmentsDep, segment_id: SegmentId) -> SegmentOutput:
    """One segment."""
    return await segments.get(segment_id)


@router.get("/{segment_id}/addresses", responses=problems(404, 422))
async def segment_addresses(
    _principal: MayView,
    segments: SegmentsDep,
    book: BookDep,
    segment_id: SegmentId,
    order: Order = Order.KANA,
    cursor: Annotated[str, Query(max_length=4000, description="`next` or `previous` of an earlier page")] = "",
    size: Annotated[int, Query(ge=1, le=200)] = 50,
) -> AddressPage:
    """The addresses of a segment as they are now; `total` is exact."""
    found = await segments.get(segment_id)
    return await book.page(addresses.Query(order=order, cursor=cursor, size=size, segment=tree_members(found.tree)))


@router.put("/{segment_id}", responses=problems(404, 409, 422))
async def update_segment(
    _principal: MayEdit, segments: SegmentsDep, segment_id: SegmentId, data: SegmentUpdate
) -> SegmentOutput:
    """Replace a segment. 409 when `version` is not the newest."""
    return await segments.update(segment_id, data)


@router.delete("/{segment_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 422))
async def delete_segment(_principal: MayEdit, segments: SegmentsDep, segment_id: SegmentId) -> None:
    """Delete a segment. Addresses stay."""
    await segments.delete(segment_id)
