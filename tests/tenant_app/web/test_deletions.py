"""What destroys asks first, says what goes with it, and brings back what can be brought back."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from elink_app.clock import utc_now
from elink_app.people.repository import PeopleRepository

from tests.tenant_app.people.support import actions, invite, make_role, member, one, run
from tests.tenant_app.support import Browser, World

pytestmark = pytest.mark.postgres

EVIL = "<script>alert(1)</script>"
FINAL = "削除すると元に戻せません"
LATER = "7 日間は入力内容とともに元に戻せ"


async def asks(me: Browser, page: str, place: str) -> str:
    """The question behind the link on `page`; asking alone changes nothing."""
    assert f'href="{place}/delete"' in (await me.get(page)).text
    answer = await me.get(f"{place}/delete")
    assert answer.status_code == 200, answer.text
    assert EVIL not in answer.text
    main = answer.text.split("<main")[1]
    if 'class="danger"' in main:
        assert re.search(rf'<form[^>]*method="post" action="{re.escape(place)}/delete">\s*<input[^>]*csrf_token', main)
    return main


async def test_a_user(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    _, user_id, email = await member(world, tenant, me, "addresses:view")
    place = f"/users/{user_id}"
    question = await asks(me, place, place)
    for told in (f"ユーザー「{email}」を削除しますか", "API トークン", "監査ログの記録は残ります", "利用を停止", FINAL):
        assert told in question
    await me.post(f"{place}/disable")
    assert "利用を停止" not in await asks(me, place, place)
    assert (await me.post(f"{place}/delete")).headers["location"] == "/users?notice=deleted"
    assert (await me.get(f"{place}/delete")).status_code == 404
    # Of whom one may not act on there is no question either.
    manager, own, _ = await member(world, tenant, me, "users:manage")
    master = await one(world, tenant, "SELECT id FROM account WHERE is_master")
    for who in (own, master):
        assert (await manager.get(f"/users/{who}/delete")).status_code == 403


async def test_a_role_that_users_have_is_not_deleted(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    role = await make_role(me, "addresses:view", name=EVIL)
    people = [await invite(me, f"u{number}@user.example", role) for number in range(12)]
    place, api = f"/roles/{role}", f"/api/v1/roles/{role}"
    question = await asks(me, "/roles", place)
    assert "この役割のユーザーがいます" in question
    assert 'class="danger"' not in question
    assert f'<a href="/users/{people[11]}/edit">u11@user.example</a>' in question
    refused = await me.post(f"{place}/delete")
    assert (refused.status_code, "先に次のユーザーからこの役割を外してください" in refused.text) == (409, True)
    problem = await me.api("DELETE", api)
    assert (problem.status_code, problem.json()["type"].rpartition("/")[2]) == (409, "role-in-use")
    assert problem.json()["detail"].count("@") == 10
    assert problem.json()["detail"].endswith("…")
    tag = (await me.api("POST", "/api/v1/tags", json={"name": "社外秘"})).json()["id"]
    label = {"is_label": True, "see": [role], "export": [role], "send": []}
    assert (await me.api("PUT", f"/api/v1/tags/{tag}/label", json=label)).status_code == 200
    for user_id in people:
        await me.api("PUT", f"/api/v1/users/{user_id}", json={"roles": []})
    question = await asks(me, "/roles", place)
    assert "情報ラベルの設定も消えます: 1 件" in question
    assert FINAL in question
    # Which labels there are is nobody's business but the master's.
    manager, _, _ = await member(world, tenant, me, "users:manage", "addresses:view")
    assert "情報ラベル" not in (await manager.get(f"{place}/delete")).text.split("<main")[1]
    assert (await me.post(f"{place}/delete")).status_code == 303
    assert await one(world, tenant, "SELECT count(*) FROM role WHERE id = $1", role) == 0
    mighty = await make_role(me, "utilities:run")
    assert (await manager.get(f"/roles/{mighty}/delete")).status_code == 403


async def test_a_field_of_users_comes_back_with_its_values(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    made = await me.api("POST", "/api/v1/user-fields", json={"key": "office", "label": EVIL, "kind": "text"})
    field, api = made.json()["id"], f"/api/v1/user-fields/{made.json()['id']}"
    body = {"attributes": {"office": "東京"}}
    stays, leaves, without = [await invite(me, f"{name}@user.example") for name in ("a", "b", "c")]
    for user_id in (stays, leaves):
        assert (await me.api("PUT", f"/api/v1/users/{user_id}", json=body)).status_code == 200
    question = await asks(me, "/user-fields", f"/user-fields/{field}")
    assert "入力のあるユーザー: 2 人" in question
    assert LATER in question
    assert (await me.post(f"/user-fields/{field}/delete")).status_code == 303
    assert (await me.get("/api/v1/user-fields")).json()["items"] == []
    assert (await me.get(f"/api/v1/users/{stays}")).json()["attributes"] == {}
    assert (await me.api("PUT", f"/api/v1/users/{stays}", json=body)).status_code == 422
    again = await me.api("POST", "/api/v1/user-fields", json={"key": "office", "label": "x", "kind": "date"})
    assert again.json()["errors"][0]["code"] == "key_taken"
    assert "削除した項目" in (await me.get("/user-fields")).text
    # A save in between loses nothing; of who is removed nothing is kept.
    await me.api("PUT", f"/api/v1/users/{stays}", json={"display_name": "彩"})
    await me.api("DELETE", f"/api/v1/users/{leaves}")
    assert await one(world, tenant, "SELECT deleted_values::text FROM user_field") == f'{{"{stays}": "東京"}}'
    assert (await me.post(f"/user-fields/{field}/restore")).status_code == 303
    assert (await me.get(f"/api/v1/users/{stays}")).json()["attributes"] == {"office": "東京"}
    assert (await me.get(f"/api/v1/users/{without}")).json()["attributes"] == {}
    assert (await me.api("POST", f"{api}/restore")).status_code == 404
    assert [action for action in await actions(world, tenant) if action.startswith("user_field.")] == [
        "user_field.create", "user_field.delete", "user_field.restore",
    ]  # fmt: skip
    # Too late: erased, and the key is free.
    assert (await me.api("DELETE", api)).status_code == 204
    await run(world, tenant, "UPDATE user_field SET deleted_at = now() - interval '8 days'")
    assert (await me.api("POST", f"{api}/restore")).status_code == 404
    known = world.parts.directory.get(tenant.name)
    assert known is not None
    async with world.parts.databases.transaction(known) as db:
        assert await PeopleRepository(db).purge_fields(utc_now() - timedelta(days=7)) == 1
    again = await me.api("POST", "/api/v1/user-fields", json={"key": "office", "label": "x", "kind": "date"})
    assert again.status_code == 201
    manager, _, _ = await member(world, tenant, me, "users:manage")
    assert (await manager.api("POST", f"{api}/restore")).status_code == 403


async def test_an_own_field_of_addresses(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    made = await me.api("POST", "/api/v1/attributes", json={"key": "rank", "label": EVIL, "type": "text"})
    place, api = f"/settings/attributes/{made.json()['id']}", f"/api/v1/attributes/{made.json()['id']}"
    tag = (await me.api("POST", "/api/v1/tags", json={"name": "社外秘"})).json()["id"]
    for number, tags in enumerate((["社外秘"], [], [])):
        body = {"name": str(number), "tags": tags, "attributes": {"rank": "A"} if number < 2 else {}}
        assert (await me.api("POST", "/api/v1/addresses", json=body)).status_code == 201
    clerk, _, _ = await member(world, tenant, me, "settings:manage")
    label = {"is_label": True, "see": [], "export": [], "send": []}
    await me.api("PUT", f"/api/v1/tags/{tag}/label", json=label)
    question = await asks(me, "/settings/attributes", place)
    assert "入力のあるアドレス（あなたに見えるもの）: 2 件" in question
    assert LATER in question
    seer, _, _ = await member(world, tenant, me, "settings:manage", "addresses:view")
    assert "（あなたに見えるもの）: 1 件" in (await seer.get(f"{place}/delete")).text
    # How many there are is not told to who sees no addresses, but that there may be some.
    blind = (await clerk.get(f"{place}/delete")).text
    assert "件" not in blind.split("<main")[1]
    assert "あなたに見えないアドレスも同じです" in blind

    rank = {"kind": "attribute", "key": "rank", "op": "not_set"}
    secret = {"kind": "tag", "tag_id": tag}
    for name, conditions in (("未設定", [rank]), ("秘密", [rank, secret])):
        tree = {"kind": "all", "of": conditions}
        answer = await me.api("POST", "/api/v1/segments", json={"name": name, "tree": tree})
        assert answer.status_code == 201, answer.text
    problem = await me.api("DELETE", api)
    assert (problem.status_code, problem.json()["type"].rpartition("/")[2]) == (409, "attribute-in-use")
    assert "未設定, 秘密" in problem.json()["detail"]
    refused = await me.post(f"{place}/delete")
    assert (refused.status_code, "未設定, 秘密" in refused.text) == (409, True)
    assert 'class="danger"' not in refused.text.split("<main")[1]
    seen = (await seer.api("DELETE", api)).json()["detail"]
    assert ("未設定" in seen, "秘密" in seen) == (True, False)
    unseen = (await clerk.api("DELETE", api)).json()["detail"]
    assert ("未設定" in unseen, "…" in unseen) == (False, True)
    await run(world, tenant, "DELETE FROM segment")
    assert (await me.post(f"{place}/delete")).status_code == 303
    assert (await me.post(f"{place}/restore")).status_code == 303


async def test_a_tag_a_segment_a_template_and_an_image(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    tag = (await me.api("POST", "/api/v1/tags", json={"name": EVIL})).json()["id"]
    await me.api("POST", "/api/v1/addresses", json={"name": "x", "tags": [EVIL]})
    tree = {"kind": "all", "of": [{"kind": "tag", "tag_id": tag}]}
    segment = (await me.api("POST", "/api/v1/segments", json={"name": EVIL, "tree": tree})).json()["id"]
    question = await asks(me, "/tags", f"/tags/{tag}")
    assert "このタグを使っているセグメントがあります" in question
    assert (await me.post(f"/tags/{tag}/delete")).status_code == 409
    question = await asks(me, f"/segments/{segment}", f"/segments/{segment}")
    assert "アドレスは残ります" in question
    assert (await me.post(f"/segments/{segment}/delete")).status_code == 303
    await me.api("PUT", f"/api/v1/tags/{tag}/label", json={"is_label": True, "see": [], "export": [], "send": []})
    question = await asks(me, "/tags", f"/tags/{tag}")
    assert "（あなたに見えるもの）: 1 件" in question
    assert "全員に見えるようになります" in question
    assert FINAL in question
    clerk, _, _ = await member(world, tenant, me, "addresses:view", "addresses:edit")
    assert (await clerk.get(f"/tags/{tag}/delete")).status_code == 404
    assert (await me.post(f"/tags/{tag}/delete")).status_code == 303

    written = {"name": EVIL, "subject": "件名", "text_body": "本文", "layout": "none", "source": ""}
    template = (await me.api("POST", "/api/v1/templates", json=written)).json()["id"]
    question = await asks(me, f"/templates/{template}", f"/templates/{template}")
    assert "すべての版が削除されます" in question
    assert (await me.post(f"/templates/{template}/delete")).status_code == 303
    token = await me.token("/templates")
    picture = {"image": ("x.gif", b"GIF89a" + bytes(40), "image/gif")}
    sent = await me.client.post(
        "/templates/images", data={"csrf_token": token}, files=picture, headers={"Sec-Fetch-Site": "same-origin"}
    )
    assert sent.status_code == 303, sent.text
    image = await one(world, tenant, "SELECT id FROM image")
    question = await asks(me, "/templates", f"/templates/images/{image}")
    assert "送信済みのメールも同じです" in question
    assert (await me.post(f"/templates/images/{image}/delete")).status_code == 303
    for place in (f"/templates/{template}", f"/templates/images/{image}", f"/segments/{segment}", f"/tags/{tag}"):
        assert (await me.get(f"{place}/delete")).status_code == 404


async def test_the_question_in_english(world: World) -> None:
    tenant = await world.tenant(language="en")
    me = await world.master(tenant)
    user_id = await invite(me, "aya@user.example")
    page = (await me.get(f"/users/{user_id}/delete")).text
    assert "<h1>Delete the user aya@user.example?</h1>" in page
    assert "This is final: it cannot be undone." in page
    assert not re.search("[ぁ-んァ-ヶ]", page.split("<main")[1])
