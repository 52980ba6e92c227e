"""`/api/v1/addresses`: the same rules as the pages, as JSON."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response, status

from elink_app.addresses import service
from elink_app.addresses.deps import BookDep
from elink_app.addresses.repository import Order
from elink_app.addresses.schemas import AddressInput, AddressOutput, AddressPage, AddressUpdate
from elink_app.web.deps import MayEdit, MayView
from elink_app.web.openapi import problems

router = APIRouter(prefix="/api/v1/addresses", tags=["addresses"], responses=problems(401, 403, 503))

AddressId = Annotated[int, Path(ge=1, le=2**63 - 1, examples=[1])]
_CREATED: dict[int | str, dict[str, Any]] = {
    201: {"headers": {"Location": {"description": "Where the new address is", "schema": {"type": "string"}}}}
}


@router.get("", responses=problems(422))
async def list_addresses(
    _principal: MayView,
    book: BookDep,
    q: Annotated[
        str,
        Query(
            max_length=200,
            pattern=r"^[^\x00]*$",
            description="Words in name, kana, company, e-mail or phone; all must be found. "
            "Width, case, kana kind and common kanji variants make no difference.",
            examples=["やまだ"],
        ),
    ] = "",
    tag: Annotated[str, Query(max_length=50, pattern=r"^[^\x00]*$", examples=["取引先"])] = "",
    order: Annotated[Order, Query(description="kana: order of the fifty sounds; updated: newest first")] = Order.KANA,
    cursor: Annotated[str, Query(max_length=4000, description="`next` or `previous` of an earlier page")] = "",
    size: Annotated[int, Query(ge=1, le=200)] = 50,
) -> AddressPage:
    """Search the address book."""
    return await book.page(service.Query(q, tag, order, cursor, size))


@router.post("", status_code=status.HTTP_201_CREATED, responses=problems(409, 422) | _CREATED)
async def create_address(_principal: MayEdit, book: BookDep, data: AddressInput, response: Response) -> AddressOutput:
    """Add an address. 409 when the plan's number of addresses is used up."""
    made = await book.create(data)
    response.headers["Location"] = f"/api/v1/addresses/{made.id}"
    return made


@router.get("/{address_id}", responses=problems(404, 422))
async def get_address(_principal: MayView, book: BookDep, address_id: AddressId) -> AddressOutput:
    """One address."""
    return await book.get(address_id)


@router.put("/{address_id}", responses=problems(404, 409, 422))
async def update_address(
    _principal: MayEdit, book: BookDep, address_id: AddressId, data: AddressUpdate
) -> AddressOutput:
    """Replace all fields of an address. 409 when `version` is not the newest."""
    return await book.update(address_id, data)


@router.delete("/{address_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 422))
async def delete_address(_principal: MayEdit, book: BookDep, address_id: AddressId) -> None:
    """Delete an address. It can be restored for some days."""
    await book.delete(address_id)


@router.post("/{address_id}/restore", responses=problems(404, 409, 422))
async def restore_address(_principal: MayEdit, book: BookDep, address_id: AddressId) -> AddressOutput:
    """Bring a deleted address back. 404 when it is too late."""
    return await book.restore(address_id)
