"""Pages of the address book's new parts: everything is done by forms, without script."""

from __future__ import annotations

import html
import re

import pytest
from elink_app.attributes.schemas import AttributeOutput, AttributeType
from elink_app.segments.rows import Names, to_rows, to_tree
from elink_app.segments.schemas import TREE
from hypothesis import given

from tests.tenant_app.segments.test_segments import trees
from tests.tenant_app.support import Browser, World

pytestmark = pytest.mark.postgres

SCRIPT = "<script>alert(1)</script>"
FIELDS = [
    AttributeOutput(id=1, key=key, label=key, type=kind, required=False, choices=[], position=0, in_list=False)
    for key, kind in (
        ("n", AttributeType.NUMBER),
        ("d", AttributeType.DATE),
        ("t", AttributeType.TEXT),
        ("b", AttributeType.YES_NO),
    )
]


@given(trees)
def test_rows_are_the_tree(tree: dict[str, object]) -> None:
    names = Names({1: "一", 2: "二", 3: "三"}, FIELDS)
    parsed = TREE.validate_python(tree)
    again, places = to_tree(parsed.kind, to_rows(parsed, names), names)
    assert TREE.validate_python(again) == parsed
    assert len(places) == len(to_rows(parsed, names))


async def form_of(me: Browser, path: str) -> dict[str, list[str]]:
    """What a browser would send of a segment's form as it is."""
    page = (await me.get(path)).text
    found: dict[str, list[str]] = {}
    for name in ("level", "what", "op"):
        selects = re.findall(rf'<select id="row-\d+-{name}".*?</select>', page, re.S)
        chosen = [re.search(r'value="([^"]*)" selected', one) for one in selects]
        found[name] = [html.unescape(one[1]) if one else "" for one in chosen]
    found["value"] = [html.unescape(one) for one in re.findall(r'name="value" value="([^"]*)"', page)]
    return found


async def test_a_segment_by_the_form(world: World) -> None:
    me = await world.master(await world.tenant())
    await me.api("POST", "/api/v1/attributes", json={"key": "points", "label": "点", "type": "number"})
    for n in range(6):
        body = {"name": f"人{n}", "tags": ["偶"] if n % 2 == 0 else [], "attributes": {"points": n}}
        await me.api("POST", "/api/v1/addresses", json=body)
    assert (await me.get("/segments/new")).status_code == 200
    sent = {
        "name": "偶数で4以外", "kind": "all", "version": "",
        "level": ["1", "1", "2", "1"], "what": ["tag", "group:none", "own:points", ""],
        "op": ["is", "is", "is", "is"], "value": ["偶", "", "４", ""],
    }  # fmt: skip
    answer = await me.post("/segments", sent)
    assert answer.status_code == 303, answer.text
    place = answer.headers["location"].partition("?")[0]
    page = (await me.get(place)).text
    assert [name for name in ("人0", "人2", "人4") if name in page] == ["人0", "人2"]
    assert "偶数で4以外" in (await me.get("/segments")).text
    shown = await form_of(me, f"{place}/edit")
    assert shown["level"][:3] == ["1", "1", "2"]
    assert shown["what"][:3] == ["tag", "group:none", "own:points"]
    assert shown["value"][:3] == ["偶", "", "4"]
    again = await me.post(place, {**shown, "name": "偶数で4以外", "kind": "all", "version": "1"})
    assert again.status_code == 303
    assert (await me.post(place, {**shown, "name": "遅い", "kind": "all", "version": "1"})).status_code == 409
    assert (await me.post(f"{place}/delete")).status_code == 303
    assert (await me.get(place)).status_code == 404


async def test_a_refused_segment_says_at_which_row(world: World) -> None:
    me = await world.master(await world.tenant())
    sent = {
        "name": SCRIPT, "kind": "any", "version": "", "level": ["1", "2", "9", "1"],
        "what": ["group:all", "tag", "other", "created"], "op": ["is", "is", "", "before"],
        "value": ["", "ない", "{", "昨日"],
    }  # fmt: skip
    answer = await me.post("/segments", sent)
    assert answer.status_code == 422
    assert SCRIPT not in answer.text
    assert {"#row-2", "#row-3"} <= set(re.findall(r'href="(#row-\d+)"', answer.text))
    only_tag = {**sent, "what": ["group:all", "tag", "", ""]}
    answer = await me.post("/segments", only_tag)
    assert re.findall(r'href="(#row-\d+)"', answer.text) == ["#row-1"]
    assert (await me.get("/api/v1/segments")).json() == []


async def test_consent_by_the_pages(world: World) -> None:
    me = await world.master(await world.tenant())
    blocked = await me.post("/suppressions", {"email": "Taro@example.jp", "detail": SCRIPT})
    assert blocked.status_code == 303
    page = await me.get(blocked.headers["location"])
    assert page.status_code == 200
    assert SCRIPT not in page.text
    assert "taro@example.jp" in (await me.get("/suppressions?q=TARO&reason=blocked")).text
    assert "taro@example.jp" not in (await me.get("/suppressions?reason=bounced")).text
    assert (await me.post("/suppressions", {"email": "x", "detail": ""})).status_code == 422
    given = {"email": "taro@example.jp", "kind": "given", "how": "名刺", "source": "", "wording": "同意します"}
    assert (await me.post("/consents", given)).status_code == 303
    wrong = await me.post("/consents", {**given, "how": "あ" * 101})
    assert wrong.status_code == 422
    page = await me.get("/consents?email=taro@example.jp")
    assert "名刺" in page.text
    number = re.search(r"/suppressions/(\d+)/lift", page.text)
    assert number is not None
    lift = f"/suppressions/{number[1]}/lift"
    refused = await me.post(lift, {"email": "taro@example.jp", "why": "長" * 301})
    assert refused.status_code == 422
    assert f'<a href="#why-{number[1]}">配信を再開する理由</a>' in refused.text
    assert "長" * 301 in refused.text
    assert (await me.post(lift, {"email": "taro@example.jp", "why": "誤り"})).status_code == 303
    assert (await me.post(lift, {"email": "taro@example.jp", "why": "誤り"})).status_code == 404
    assert (await me.get("/consents?email=x")).status_code == 404


async def test_own_fields_by_the_page(world: World) -> None:
    me = await world.master(await world.tenant())
    path = "/settings/attributes"
    new = {"key": "rank", "label": SCRIPT, "type": "choice", "choices": "A\r\nB\r\n", "in_list": "yes"}
    assert (await me.post(path, new)).status_code == 303
    made = (await me.get("/api/v1/attributes")).json()[0]
    assert (made["choices"], made["in_list"], made["required"]) == (["A", "B"], True, False)
    page = (await me.get(path)).text
    assert SCRIPT not in page
    assert SCRIPT not in (await me.get("/addresses/new")).text
    refused = await me.post(path, {**new, "key": "rank2", "label": "", "required": "yes"})
    assert refused.status_code == 422
    boxes = re.findall(r'id="(required|in_list)" name="\w+" value="yes"( checked)?', refused.text)
    assert boxes == [("required", " checked"), ("in_list", " checked")]
    change = {"label": "ランク", "choices": "A\nC", "position": "3", "required": "yes"}
    assert (await me.post(f"{path}/{made['id']}", change)).status_code == 303
    changed = (await me.get("/api/v1/attributes")).json()[0]
    assert (changed["label"], changed["choices"], changed["required"]) == ("ランク", ["A", "C"], True)
    refused = await me.post(f"{path}/{made['id']}", {**change, "label": "新しい名前", "position": "7", "choices": ""})
    assert refused.status_code == 422
    assert f'<a href="#choices-{made["id"]}">' in refused.text
    assert f'id="choices-{made["id"]}-error"' in refused.text
    assert ('value="新しい名前"' in refused.text, 'value="7"' in refused.text) == (True, True)
    assert 'id="choices-error"' not in refused.text, "not the form for a new field"
    assert (await me.post(f"{path}/{made['id']}/delete")).status_code == 303
    assert (await me.get("/api/v1/attributes")).json() == []
    assert (await me.post(f"{path}/{made['id']}/restore")).status_code == 303
    assert len((await me.get("/api/v1/attributes")).json()) == 1


async def test_the_form_counts_before_saving_and_knows_past_deliveries(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    for n in range(3):
        body = {"name": f"人{n}", "emails": [f"n{n}@x.jp"]}
        assert (await me.api("POST", "/api/v1/addresses", json=body)).status_code == 201
    sent = {"name": "", "kind": "all", "version": "", "level": "1", "what": "name", "op": "is", "value": "人1"}
    counted = await me.post("/segments", {**sent, "action": "count"})
    assert counted.status_code == 200
    assert "1 件" in counted.text
    assert 'value="人1"' in counted.text
    assert (await me.get("/api/v1/segments")).json() == []
    delivery = {**sent, "name": "未配信", "what": "delivery:not_sent", "value": "7"}
    assert "3 件" in (await me.post("/segments", {**delivery, "action": "count"})).text
    for wrong in ("", "x", "0", "-1", "9" * 30, "七"):
        assert (await me.post("/segments", {**delivery, "value": wrong, "action": "count"})).status_code == 422, wrong
    saved = await me.post("/segments", delivery)
    assert saved.status_code == 303
    (found,) = (await me.get("/api/v1/segments")).json()
    condition = {"kind": "delivery", "delivery_id": 7, "outcome": "not_sent"}
    assert found["tree"] == {"kind": "all", "of": [condition]}
    form = await form_of(me, f"/segments/{found['id']}/edit")
    assert (form["what"][0], form["value"][0]) == ("delivery:not_sent", "7")
    again = await me.post(f"/segments/{found['id']}", {**sent, "name": "未配信", "action": "count"})
    assert "1 件" in again.text
    assert (await me.get("/api/v1/segments")).json() == [found]
