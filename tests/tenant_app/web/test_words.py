"""What pages say: words that mean another thing elsewhere, and what helps after an error."""

from __future__ import annotations

import pytest

from tests.tenant_app.duplicates.test_duplicates import add
from tests.tenant_app.support import World

pytestmark = pytest.mark.postgres


async def test_the_names_of_things_are_not_names_of_people(world: World) -> None:
    me = await world.master(await world.tenant())
    await me.api("POST", "/api/v1/tags", json={"name": "顧客"})
    for path, label in (
        ("/roles/new", "役割名"),
        ("/segments/new", "セグメント名"),
        ("/account/tokens", "トークン名"),
        ("/tags", "タグ名"),
    ):
        page = (await me.get(path)).text
        assert f">{label}" in page, path
    assert '<th scope="col">番号</th>' in (await me.get("/audit")).text


async def test_a_refused_step_says_why_and_leads_back(world: World) -> None:
    me = await world.master(await world.tenant())
    tag = (await me.api("POST", "/api/v1/tags", json={"name": "顧客"})).json()["id"]
    wrong = await me.post(f"/tags/{tag}/label", {"is_label": "yes", "see": "999"})
    assert wrong.status_code == 422
    assert "存在しない役割が含まれています" in wrong.text
    assert '<a class="button primary" href="/tags">ページを開き直す</a>' in wrong.text
    gone = await me.post("/nothing", {})
    assert "開き直す" not in gone.text


async def test_who_came_too_late_to_a_merge_is_not_promised_his_entries(world: World) -> None:
    me = await world.master(await world.tenant())
    one, two = await add(me), await add(me)
    stale = await me.post(
        "/duplicates/merge", {"id": [one, two], "keep": one, f"version-{one}": "9", f"version-{two}": "1"}
    )
    assert stale.status_code == 409
    assert "もう一度選んでください" in stale.text
    done = await me.post(
        "/duplicates/merge", {"id": [one, two], "keep": one, f"version-{one}": "1", f"version-{two}": "1"}
    )
    merge = done.headers["location"].rpartition("=")[2]
    await me.api("PUT", f"/api/v1/addresses/{one}", json={"name": "その後"})
    late = await me.post(f"/duplicates/merges/{merge}/undo")
    assert late.status_code == 409
    assert "元に戻せません" in late.text
    assert "入力内容は下に残っています" not in stale.text + late.text


async def test_every_list_leads_back_to_its_first_page_with_what_was_looked_for(world: World) -> None:
    me = await world.master(await world.tenant())
    for path, back in (
        ("/deliveries?before=1&state=draft", "/deliveries?state=draft"),
        ("/suppressions?before=1&q=a%40b&reason=bounced", "/suppressions?q=a%40b&amp;reason=bounced"),
        ("/duplicates?by=name&after=x", "/duplicates?by=name"),
    ):
        page = await me.get(path)
        assert page.status_code == 200
        assert f'<a class="button" href="{back}">' in page.text, path
        assert ">最初のページ" not in (await me.get(path.partition("?")[0])).text


async def test_whose_session_is_over_is_led_to_the_log_in_and_back(world: World) -> None:
    tenant = await world.tenant()
    await world.master(tenant)
    answer = await world.browser(tenant.host).post("/addresses/7/delete", {}, page="/login")
    assert answer.status_code == 401
    assert '<a class="button primary" href="/login?next=%2Faddresses%2F7">ログイン</a>' in answer.text
