"""The support page."""

from __future__ import annotations

import pytest

from tests.tenant_app.people.support import member
from tests.tenant_app.support import World

pytestmark = pytest.mark.postgres


async def test_the_room_and_what_to_tell(world: World) -> None:
    tenant = await world.tenant(contacts={"chatworkRoomId": "123456789"})
    master = await world.master(tenant)
    user, _, _ = await member(world, tenant, master)
    for browser in (master, user):
        answer = await browser.get("/contact")
        assert 'href="https://www.chatwork.com/#!rid123456789"' in answer.text
        for fact in (tenant.name, tenant.display_name, answer.headers["x-request-id"], "お問い合わせ"):
            assert fact in answer.text
    said = (await user.get("/api/v1/support")).json()
    assert (said["room"], said["url"]) == ("123456789", "https://www.chatwork.com/#!rid123456789")
    assert (said["organisation"], said["tenant"]) == (tenant.display_name, tenant.name)
    user.client.cookies.set("__Host-elink-language", "en")
    assert "What to tell support" in (await user.get("/contact")).text
    assert (await world.browser(tenant.host).get("/contact")).status_code == 303


@pytest.mark.parametrize("room", ["", "javascript:alert(1)", '1"onclick="x', "12\n", "<script>"])
async def test_a_room_that_is_none(world: World, room: str) -> None:
    tenant = await world.tenant(contacts={"chatworkRoomId": room})
    master = await world.master(tenant)
    assert (await master.get("/api/v1/support")).json()["url"] is None
    page = (await master.get("/contact")).text
    assert "chatwork.com" not in page
    assert "サポート用チャットが登録されていません" in page
    assert not room.strip() or f"rid{room}" not in page
