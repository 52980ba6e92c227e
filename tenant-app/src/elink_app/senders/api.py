"""`/api/v1/settings/…` of the sender: the same rules as the pages, as JSON."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, status

from elink_app.senders.deps import MayManageSettings, SendersDep
from elink_app.senders.schemas import (
    DkimDomainInput,
    DkimKeyOutput,
    SenderAddressInput,
    SenderAddressOutput,
    SettingsOutput,
    SettingsUpdate,
)
from elink_app.web.deps import ActorDep
from elink_app.web.openapi import problems

router = APIRouter(prefix="/api/v1/settings", tags=["settings"], responses=problems(401, 403, 503))

Id = Annotated[int, Path(ge=1, le=2**63 - 1, examples=[1])]


@router.get("/sender")
async def get_settings(_principal: MayManageSettings, senders: SendersDep) -> SettingsOutput:
    """The rules of sending, and who sends."""
    return await senders.settings()


@router.put("/sender", responses=problems(409, 422))
async def save_settings(
    _principal: MayManageSettings, actor: ActorDep, senders: SendersDep, data: SettingsUpdate
) -> SettingsOutput:
    """Replace the rules. 409 when `version` is not the newest."""
    return await senders.save(actor, data)


@router.get("/sender-addresses")
async def list_addresses(_principal: MayManageSettings, senders: SendersDep) -> list[SenderAddressOutput]:
    """The addresses that deliveries may come from."""
    return list(await senders.addresses())


@router.post("/sender-addresses", status_code=status.HTTP_201_CREATED, responses=problems(422))
async def add_address(
    _principal: MayManageSettings, actor: ActorDep, senders: SendersDep, data: SenderAddressInput
) -> SenderAddressOutput:
    """Allow a sender."""
    return await senders.add_address(actor, data)


@router.delete("/sender-addresses/{address_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 422))
async def remove_address(_principal: MayManageSettings, actor: ActorDep, senders: SendersDep, address_id: Id) -> None:
    """Allow a sender no longer."""
    await senders.remove_address(actor, address_id)


@router.get("/dkim-keys")
async def list_keys(_principal: MayManageSettings, senders: SendersDep) -> list[DkimKeyOutput]:
    """Signing keys with the DNS records to publish. Nobody here looks into the DNS."""
    return list(await senders.keys())


@router.post("/dkim-keys", status_code=status.HTTP_201_CREATED, responses=problems(422))
async def make_key(
    _principal: MayManageSettings, actor: ActorDep, senders: SendersDep, data: DkimDomainInput
) -> DkimKeyOutput:
    """Make a key. It signs nothing before it is activated."""
    return await senders.make_key(actor, data.domain)


@router.post("/dkim-keys/{key_id}/activate", responses=problems(404, 422))
async def activate_key(
    _principal: MayManageSettings, actor: ActorDep, senders: SendersDep, key_id: Id
) -> DkimKeyOutput:
    """Sign with this key from now on: its record must be in the DNS."""
    return await senders.activate_key(actor, key_id)


@router.delete("/dkim-keys/{key_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 422))
async def remove_key(_principal: MayManageSettings, actor: ActorDep, senders: SendersDep, key_id: Id) -> None:
    """Delete a key that does not sign."""
    await senders.remove_key(actor, key_id)
