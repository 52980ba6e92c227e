"""The manual as users see it."""

from __future__ import annotations

import pytest

from tests.tenant_app.people.support import member
from tests.tenant_app.support import World

pytestmark = pytest.mark.postgres


async def test_for_everybody_who_is_logged_in(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    user, _, _ = await member(world, tenant, master)
    assert '<a href="/manual/start">はじめに</a>' in (await user.get("/manual")).text
    assert '<h2 id="first">初回ログイン</h2>' in (await user.get("/manual/start")).text
    assert 'href="/manual/deliveries#send"' in (await user.get("/manual?q=差し戻す")).text
    hostile = (await user.get("/manual", params={"q": "<script>alert(1)</script>\0"})).text
    assert "<script>alert" not in hostile
    for strange in ("nothing", "..%2Fen%2F01-start", "%00"):
        assert (await user.get(f"/manual/{strange}")).status_code == 404
    user.client.cookies.set("__Host-elink-language", "en")
    assert '<h2 id="first">First log-in</h2>' in (await user.get("/manual/start")).text
    assert (await world.browser(tenant.host).get("/manual")).status_code == 303
