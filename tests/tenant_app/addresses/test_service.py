"""The rules of the address book, through the API and the pages, which share them."""

from __future__ import annotations

import asyncio
import html
import re

import pytest
from elink_app.addresses.repository import Cursor

from tests.tenant_app.support import Browser, World

pytestmark = pytest.mark.postgres

WHOLE = {
    "name": " 山田　太郎 ",
    "kana": "やまだ ﾀﾛｳ",
    "company": "株式会社やまだ商店",
    "emails": ["Taro@Example.CO.JP", "a..b.@docomo.ne.jp"],
    "phone": "０３ー１２３４-5678",
    "postal_code": "〒1000001",
    "postal_address": "東京都千代田区1-1\r\nさくらビル",
    "notes": "一行目\r\n二行目",
    "tags": ["取引先", "年賀状", "取引先"],
}


async def add(me: Browser, **values: object) -> dict[str, object]:
    answer = await me.api("POST", "/api/v1/addresses", json={"name": "名前", **values})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def names(me: Browser, query: str = "") -> list[str]:
    answer = await me.get(f"/api/v1/addresses?{query}")
    assert answer.status_code == 200, answer.text
    return [row["name"] for row in answer.json()["items"]]


async def test_create_read_update_delete_restore(world: World) -> None:
    me = await world.master(await world.tenant())
    answer = await me.api("POST", "/api/v1/addresses", json=WHOLE)
    assert answer.status_code == 201
    made = answer.json()
    assert answer.headers["location"] == f"/api/v1/addresses/{made['id']}"
    assert {name: made[name] for name in WHOLE} == {
        "name": "山田　太郎",
        "kana": "ヤマダ タロウ",
        "company": "株式会社やまだ商店",
        "emails": ["Taro@example.co.jp", "a..b.@docomo.ne.jp"],
        "phone": "03-1234-5678",
        "postal_code": "100-0001",
        "postal_address": "東京都千代田区1-1\nさくらビル",
        "notes": "一行目\n二行目",
        "tags": sorted(["取引先", "年賀状"]),
    }
    assert made["created_at"].endswith("+09:00")
    path = f"/api/v1/addresses/{made['id']}"
    assert (await me.get(path)).json() == made
    changed = (await me.api("PUT", path, json={"name": "山田 花子", "emails": ["a@b.jp"], "version": 1})).json()
    assert (changed["name"], changed["kana"], changed["emails"], changed["tags"]) == ("山田 花子", "", ["a@b.jp"], [])
    assert changed["version"] == 2
    assert (await me.api("DELETE", path)).status_code == 204
    assert (await me.get(path)).status_code == 404
    assert (await me.api("DELETE", path)).status_code == 404
    assert await names(me) == []
    assert (await me.api("POST", f"{path}/restore")).json()["name"] == "山田 花子"
    assert await names(me) == ["山田 花子"]
    assert (await me.api("POST", f"{path}/restore")).status_code == 404


async def test_a_wrong_email_is_marked_at_its_own_box(world: World) -> None:
    """The boxes before it may be empty."""
    me = await world.master(await world.tenant())
    page = (await me.post("/addresses", {"name": "甲", "emails": ["", "a@b.jp", "", "wrong"]})).text
    assert re.findall(r'href="#(emails-\d)"', page) == ["emails-3"]
    assert re.findall(r'id="(emails-\d)-error"', page) == ["emails-3"]


async def test_undo_lasts_seven_days(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    made = await add(me, name="消えた人")
    await me.api("DELETE", f"/api/v1/addresses/{made['id']}")
    assert "消えた人" in (await me.get("/addresses/deleted")).text
    async with world.server.inside(tenant.database) as inside:
        await inside.execute("UPDATE address SET deleted_at = now() - interval '7 days 1 minute'")
    assert "消えた人" not in (await me.get("/addresses/deleted")).text
    assert (await me.api("POST", f"/api/v1/addresses/{made['id']}/restore")).status_code == 404


async def test_a_save_over_somebody_elses_is_refused(world: World) -> None:
    me = await world.master(await world.tenant())
    made = await add(me)
    path = f"/api/v1/addresses/{made['id']}"
    await me.api("POST", "/api/v1/attributes", json={"key": "rank", "label": "会員ランク", "type": "text"})
    first = {"name": "先", "version": 1, "attributes": {"rank": "金"}}
    assert (await me.api("PUT", path, json=first)).status_code == 200
    late = await me.api("PUT", path, json={"name": "後", "version": 1})
    assert late.status_code == 409
    assert late.json()["type"].endswith("/edit-conflict")
    form = await me.post(f"/addresses/{made['id']}", {"name": "後", "emails": "", "version": "1", "notes": "私の"})
    assert form.status_code == 409
    assert "ほかの人が" in form.text
    assert 'value="後"' in form.text
    assert "私の" in form.text
    assert "<dt>会員ランク</dt><dd>" in form.text.partition('id="saved-now"')[2].partition("<form")[0]
    assert 'name="version" value="2"' in form.text
    assert (await me.post(f"/addresses/{made['id']}", {"name": "後", "version": "2"})).status_code == 303
    assert await names(me) == ["後"]


async def test_saves_at_the_same_time_lose_nothing_unseen(world: World) -> None:
    me = await world.master(await world.tenant())
    made = await add(me)
    token = (await me.get("/api/v1/session")).json()["csrf_token"]
    answers = await asyncio.gather(
        *(
            me.api("PUT", f"/api/v1/addresses/{made['id']}", token=token, json={"name": f"n{n}", "version": 1})
            for n in range(8)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7


async def test_the_limit_holds_under_pressure(world: World) -> None:
    tenant = await world.tenant(limits={"addresses": 3})
    me = await world.master(tenant)
    token = (await me.get("/api/v1/session")).json()["csrf_token"]
    answers = await asyncio.gather(
        *(me.api("POST", "/api/v1/addresses", token=token, json={"name": f"n{n}"}) for n in range(10))
    )
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 7
    problem = next(answer for answer in answers if answer.status_code == 409).json()
    assert problem["type"].endswith("/address-limit-reached")
    assert "3 件" in problem["detail"]
    form = await me.post("/addresses", {"name": "もう一人"})
    assert form.status_code == 409
    assert "上限 3 件" in form.text
    assert 'value="もう一人"' in form.text
    assert "上限 3 件" in (await me.get("/addresses/new")).text
    first = next(answer.json()["id"] for answer in answers if answer.status_code == 201)
    await me.api("DELETE", f"/api/v1/addresses/{first}")
    assert (await me.api("POST", "/api/v1/addresses", json={"name": "新"})).status_code == 201
    full = await me.api("POST", f"/api/v1/addresses/{first}/restore")
    assert full.status_code == 409
    await world.change(tenant, limits={"addresses": 4})
    assert (await me.api("POST", f"/api/v1/addresses/{first}/restore")).status_code == 200


async def test_exact_count_whatever_is_done_in_sql(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    for n in range(4):
        await add(me, name=f"n{n}")
    async with world.server.inside(tenant.database) as inside:
        for statement in (
            "UPDATE address SET deleted_at = now() WHERE name IN ('n0', 'n1')",
            "UPDATE address SET notes = 'x'",
            "DELETE FROM address WHERE name = 'n0'",
            "UPDATE address SET deleted_at = NULL WHERE name = 'n1'",
            "INSERT INTO address (name, sort_key, search_text, search_grams) "
            "SELECT 'b' || n, 'b', 'b', '{}' FROM generate_series(1, 500) AS n",
            "DELETE FROM address WHERE name LIKE 'b%' AND id % 2 = 0",
        ):
            await inside.execute(statement)
            counted = await inside.fetchval("SELECT count(*) FROM address WHERE deleted_at IS NULL")
            assert await inside.fetchval("SELECT value FROM usage WHERE name = 'addresses'") == counted


SEARCHES = [
    ("やまだ", ["山田 太郎"]),
    ("ヤマダ", ["山田 太郎"]),
    ("ﾔﾏﾀﾞ", ["山田 太郎"]),
    ("山田太郎", ["山田 太郎"]),
    ("太郎 山田", ["山田 太郎"]),
    ("高橋", ["髙橋 健一"]),
    ("髙橋", ["髙橋 健一"]),
    ("橋", ["髙橋 健一"]),
    ("TARO@", ["山田 太郎"]),
    ("ｔａｒｏ", ["山田 太郎"]),
    ("0312345678", ["山田 太郎"]),
    ("03-1234", ["山田 太郎"]),
    ("さくら工業", ["佐藤 花子"]),
    ("山田 さくら", []),
    ("%", ["100% 果汁"]),
    ("_", []),
    ("\\", []),
    ("'; DROP TABLE address; --", []),
    ("00%", ["100% 果汁"]),
]


async def test_search(world: World) -> None:
    me = await world.master(await world.tenant())
    await add(me, name="山田 太郎", kana="ヤマダ タロウ", emails=["taro@example.jp"], phone="03-1234-5678")
    await add(me, name="髙橋 健一", kana="タカハシ ケンイチ")
    await add(me, name="佐藤 花子", company="さくら工業")
    await add(me, name="100% 果汁")
    for query, expected in SEARCHES:
        found = await me.client.get("/api/v1/addresses", params={"q": query})
        assert (query, [row["name"] for row in found.json()["items"]]) == (query, expected)
        page = await me.client.get("/addresses", params={"q": query})
        assert page.status_code == 200
        assert f'value="{html.escape(query, quote=True).replace("&#x27;", "&#39;")}"' in page.text


async def test_order_of_the_fifty_sounds(world: World) -> None:
    me = await world.master(await world.tenant())
    readings = [
        "ワタナベ",
        "アベ",
        "カトウ",
        "ガトウ",
        "キムラ",
        "イトウ",
        "ショウジ",
        "シヨウジ",
        "ハヤシ",
        "バンドウ",
        "パク",
    ]
    for reading in readings:
        await add(me, name=f"人 {reading}", kana=reading)
    await add(me, name="Adams")
    found = [name.removeprefix("人 ") for name in await names(me)]
    order = "Adams アベ イトウ カトウ ガトウ キムラ ショウジ シヨウジ パク ハヤシ バンドウ ワタナベ"
    assert found == order.split()


async def test_leafing_through_shows_everything_once(world: World) -> None:
    me = await world.master(await world.tenant())
    for n in range(23):
        await add(me, name=f"人{n:02}", kana="ドウセイ" if n % 2 else "")
    for order in ("kana", "updated"):
        seen: list[str] = []
        cursor, pages = "", []
        while True:
            page = (await me.get(f"/api/v1/addresses?size=5&order={order}&cursor={cursor}")).json()
            pages.append([row["name"] for row in page["items"]])
            seen += pages[-1]
            assert page["total"] == 23
            if page["next"] is None:
                break
            cursor = page["next"]
        assert len(seen) == 23
        assert len(set(seen)) == 23
        # And back again.
        back = []
        while page["previous"]:
            page = (await me.get(f"/api/v1/addresses?size=5&order={order}&cursor={page['previous']}")).json()
            back.append([row["name"] for row in page["items"]])
        assert back[::-1] == pages[:-1]


@pytest.mark.parametrize(
    "cursor", ["x", "AAAA", "W10", "WyJhIiwgMSwgdHJ1ZV0x", "WyJhIiwtMSx0cnVlXQ", "WzEsMiwzXQ", "%00"]
)
async def test_broken_cursors(world: World, cursor: str) -> None:
    me = await world.master(await world.tenant())
    for order in ("kana", "updated"):
        answer = await me.get(f"/api/v1/addresses?cursor={cursor}&order={order}")
        assert answer.status_code == 422
        assert (await me.get(f"/addresses?cursor={cursor}&order={order}")).status_code == 422


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
async def test_cursors_out_of_time(world: World, moment: str) -> None:
    me = await world.master(await world.tenant())
    cursor = Cursor(moment, 1, backwards=False).encode()
    assert (await me.get(f"/api/v1/addresses?cursor={cursor}&order=updated")).status_code == 422


async def test_tags(world: World) -> None:
    me = await world.master(await world.tenant())
    await add(me, name="甲", tags=["VIP", "取引先"])
    await add(me, name="乙", tags=["ｖｉｐ"])
    assert sorted(await names(me, "tag=vip")) == ["乙", "甲"]
    page = (await me.get("/addresses")).text
    assert '<option value="VIP">VIP</option>' in page
    assert "ｖｉｐ" not in page
    assert await names(me, "tag=VIP&q=甲") == ["甲"]
    assert await names(me, "tag=nobody") == []


WRONG = [
    ({}, "/name", "missing"),
    ({"name": ""}, "/name", "string_too_short"),
    ({"name": " 　 "}, "/name", "string_too_short"),
    ({"name": "あ" * 101}, "/name", "string_too_long"),
    ({"name": None}, "/name", "string_type"),
    ({"name": "a\x00b"}, "/name", "control_character"),
    ({"name": "a\nb"}, "/name", "control_character"),
    ({"name": "a\u202eb"}, "/name", "control_character"),
    ({"name": "a", "notes": "a\x1bb"}, "/notes", "control_character"),
    ({"name": "a", "kana": "漢字"}, "/kana", "kana"),
    ({"name": "a", "kana": "㍿" * 100}, "/kana", "kana"),
    ({"name": "a", "kana": "㌖" * 100}, "/kana", "string_too_long"),
    ({"name": "a", "emails": ["x"]}, "/emails/0", "email"),
    ({"name": "a", "emails": ["a@b.jp", "A@b.jp"]}, "/emails", "email_twice"),
    ({"name": "a", "emails": ["a@b.jp\nBcc: x@y.jp"]}, "/emails/0", "control_character"),
    ({"name": "a", "emails": [f"a{n}@b.jp" for n in range(6)]}, "/emails", "too_long"),
    ({"name": "a", "emails": ["日本@b.jp"]}, "/emails/0", "email"),
    ({"name": "a", "phone": "電話"}, "/phone", "phone"),
    ({"name": "a", "postal_code": "<b>"}, "/postal_code", "postal_code"),
    ({"name": "a", "tags": ["a,b"]}, "/tags/0", "tag"),
    ({"name": "a", "tags": [""]}, "/tags/0", "string_too_short"),
    ({"name": "a", "tags": "x"}, "/tags", "list_type"),
    ({"name": "a", "nonsense": 1}, "/nonsense", "extra_forbidden"),
    ({"name": "a", "deleted_at": "now"}, "/deleted_at", "extra_forbidden"),
]


async def test_refusals_say_where_and_what(world: World) -> None:
    me = await world.master(await world.tenant())
    token = (await me.get("/api/v1/session")).json()["csrf_token"]
    for body, pointer, code in WRONG:
        answer = await me.api("POST", "/api/v1/addresses", token=token, json=body)
        assert answer.status_code == 422, body
        assert answer.headers["content-type"] == "application/problem+json"
        errors = answer.json()["errors"]
        assert [(error["pointer"], error["code"]) for error in errors] == [(pointer, code)], body
        assert errors[0]["detail"] != ""
        assert "%(" not in errors[0]["detail"]
        assert "この値は使えません" not in errors[0]["detail"], code
    assert (await me.get("/api/v1/addresses")).json()["total"] == 0


async def test_bodies_that_are_no_objects(world: World) -> None:
    me = await world.master(await world.tenant())
    token = (await me.get("/api/v1/session")).json()["csrf_token"]
    for content in (
        b"",
        b"{",
        b"[]",
        b"null",
        b"1",
        b'"x"',
        b"\xff\xfe",
        b'{"name": "\\ud800"}',
        b"[" * 5000,
        b'{"name": NaN}',
    ):
        answer = await me.api(
            "POST", "/api/v1/addresses", token=token, content=content, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code in (400, 422), content[:20]
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_refused_form_shows_everything_again(world: World) -> None:
    me = await world.master(await world.tenant())
    typed = {
        "name": "", "kana": "漢字", "company": "会社 & <b>", "emails": ["", "wrong", "ok@example.jp"], "phone": "電話",
        "postal_code": "1", "postal_address": "\n二行\n目", "notes": "</textarea><script>", "tags": "a、b",
    }  # fmt: skip
    answer = await me.post("/addresses", typed)
    assert answer.status_code == 422
    page = answer.text
    for value in (
        "漢字",
        "会社 &amp; &lt;b&gt;",
        "wrong",
        "ok@example.jp",
        "電話",
        "&lt;/textarea&gt;&lt;script&gt;",
        "a、b",
    ):
        assert value in page
    # The second box is wrong, neither the empty first nor the good third.
    assert 'aria-invalid="true"' in page.split('id="emails-1"')[1].split(">")[0]
    for good in ("emails-0", "emails-2", "company"):
        assert "aria-invalid" not in page.split(f'id="{good}"')[1].split(">")[0]
    assert (await me.get("/api/v1/addresses")).json()["total"] == 0


async def test_wrong_ids(world: World) -> None:
    me = await world.master(await world.tenant())
    for wrong in ("0", "-1", "x", "9" * 30, "1.5", "1e3", "%00", "１"):
        assert ((await me.get(f"/addresses/{wrong}")).status_code) == 404
        assert (await me.get(f"/api/v1/addresses/{wrong}")).status_code in (404, 422)
    assert (await me.get("/addresses?deleted=999999")).status_code == 200
