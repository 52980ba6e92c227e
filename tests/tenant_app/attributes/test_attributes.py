"""Own fields: definitions, and values through API and pages."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from elink_app.addresses.erasing import erase_expired_attributes
from elink_app.attributes.schemas import AttributeOutput, AttributeType, AttributeValues
from elink_app.clock import utc_now

from tests.tenant_app.support import Browser, World

pytestmark = pytest.mark.postgres

PATH = "/api/v1/attributes"
FIELDS: list[dict[str, object]] = [
    {"key": "rank", "label": "会員ランク", "type": "choice", "choices": ["A", "Ｂ級"], "in_list": True},
    {"key": "points", "label": "ポイント", "type": "number"},
    {"key": "birthday", "label": "誕生日", "type": "date"},
    {"key": "member", "label": "会員", "type": "yes_no"},
    {"key": "hobby", "label": "趣味 <b>", "type": "text"},
]
GOOD = {"rank": "A", "points": 12.5, "birthday": "2000-02-29", "member": False, "hobby": "囲碁"}


async def define(me: Browser, fields: list[dict[str, object]] = FIELDS) -> dict[str, int]:
    made = {}
    for one in fields:
        answer = await me.api("POST", PATH, json=one)
        assert answer.status_code == 201, answer.text
        made[str(one["key"])] = answer.json()["id"]
    return made


async def test_values_are_kept_found_and_shown(world: World) -> None:
    me = await world.master(await world.tenant())
    await define(me)
    made = (await me.api("POST", "/api/v1/addresses", json={"name": "甲", "attributes": GOOD})).json()
    assert made["attributes"] == GOOD
    assert (await me.get(f"/api/v1/addresses/{made['id']}")).json()["attributes"] == GOOD
    assert (await me.get("/api/v1/addresses?q=囲碁")).json()["total"] == 1
    page = (await me.get(f"/addresses/{made['id']}")).text
    assert "趣味 &lt;b&gt;" in page
    assert "囲碁" in page
    assert "会員ランク" in (await me.get("/addresses")).text
    form = (await me.get(f"/addresses/{made['id']}/edit")).text
    assert '<option value="A" selected>A</option>' in form
    assert 'value="12.5"' in form
    typed = {"name": "甲", "version": "1", "attributes.rank": "b級", "attributes.points": "１，２００",
             "attributes.birthday": "2001/4/1", "attributes.member": "はい", "attributes.hobby": ""}  # fmt: skip
    assert (await me.post(f"/addresses/{made['id']}", typed)).status_code == 303
    saved = (await me.get(f"/api/v1/addresses/{made['id']}")).json()
    expected = {"rank": "Ｂ級", "points": 1200, "birthday": "2001-04-01", "member": True}
    assert saved["attributes"] == expected
    wrong = await me.post(f"/addresses/{made['id']}", {**typed, "version": "2", "attributes.points": "多い"})
    assert wrong.status_code == 422
    assert 'aria-invalid="true"' in wrong.text.split('id="attributes.points"')[1].split(">")[0]
    assert "多い" in wrong.text


WRONG = [
    ({"rank": "C"}, "/attributes/rank", "choice"),
    ({"rank": 1}, "/attributes/rank", "string_type"),
    ({"points": "x"}, "/attributes/points", "number"),
    ({"points": True}, "/attributes/points", "number"),
    ({"points": 1e300}, "/attributes/points", "number"),
    ({"points": 10**15}, "/attributes/points", "number"),
    ({"points": "1e3"}, "/attributes/points", "number"),
    ({"birthday": "2001-02-29"}, "/attributes/birthday", "date"),
    ({"birthday": 5}, "/attributes/birthday", "date"),
    ({"member": "maybe"}, "/attributes/member", "yes_no"),
    ({"hobby": "a\x00b"}, "/attributes/hobby", "control_character"),
    ({"hobby": "a\nb"}, "/attributes/hobby", "control_character"),
    ({"hobby": "あ" * 501}, "/attributes/hobby", "string_too_long"),
    ({"nobody": 1}, "/attributes/nobody", "extra_forbidden"),
    ({"__class__": "x"}, "/attributes/__class__", "extra_forbidden"),
]


async def test_wrong_values_are_refused_at_their_place(world: World) -> None:
    me = await world.master(await world.tenant())
    await define(me)
    token = (await me.get("/api/v1/session")).json()["csrf_token"]
    for values, pointer, code in WRONG:
        answer = await me.api("POST", "/api/v1/addresses", token=token, json={"name": "a", "attributes": values})
        assert answer.status_code == 422, values
        errors = answer.json()["errors"]
        assert [(one["pointer"], one["code"]) for one in errors] == [(pointer, code)], values
        assert "この値は使えません" not in errors[0]["detail"], code
    assert (await me.get("/api/v1/addresses")).json()["total"] == 0


async def test_a_required_field_is_asked_for_at_the_next_save(world: World) -> None:
    me = await world.master(await world.tenant())
    made = (await me.api("POST", "/api/v1/addresses", json={"name": "前から"})).json()
    await define(me, [{"key": "code", "label": "顧客番号", "type": "text", "required": True}])
    assert (await me.get(f"/api/v1/addresses/{made['id']}")).json()["attributes"] == {}
    for attributes in ({}, {"code": ""}, {"code": "  "}, {"code": None}):
        body = {"name": "前から", "attributes": attributes}
        answer = await me.api("PUT", f"/api/v1/addresses/{made['id']}", json=body)
        assert [(one["pointer"], one["code"]) for one in answer.json()["errors"]] == [("/attributes/code", "required")]


async def test_definitions_are_changed_without_losing_values(world: World) -> None:
    me = await world.master(await world.tenant())
    ids = await define(me)
    made = (await me.api("POST", "/api/v1/addresses", json={"name": "甲", "attributes": GOOD})).json()
    await me.api("DELETE", f"/api/v1/addresses/{made['id']}")
    rank = f"{PATH}/{ids['rank']}"
    lost = await me.api("PUT", rank, json={"label": "ランク", "choices": ["Ｂ級"]})
    assert [(one["pointer"], one["code"]) for one in lost.json()["errors"]] == [("/choices", "choice_in_use")]
    assert "A" in lost.json()["errors"][0]["detail"]
    fine = await me.api("PUT", rank, json={"label": "ランク", "choices": ["A", "特"]})
    assert (fine.json()["label"], fine.json()["choices"], fine.json()["key"]) == ("ランク", ["A", "特"], "rank")
    assert (await me.api("PUT", rank, json={"label": "x", "choices": []})).status_code == 422
    assert (await me.api("PUT", rank, json={"label": "x", "choices": ["A"], "type": "text"})).status_code == 422
    assert (await me.api("POST", PATH, json=FIELDS[0])).json()["errors"][0]["code"] == "key_taken"
    assert (await me.api("PUT", f"{PATH}/999999", json={"label": "x"})).status_code == 404


async def test_a_deleted_field_comes_back_with_its_values_or_is_erased(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    ids = await define(me)
    made = (await me.api("POST", "/api/v1/addresses", json={"name": "甲", "attributes": GOOD})).json()
    path = f"/api/v1/addresses/{made['id']}"
    hobby = f"{PATH}/{ids['hobby']}"
    assert (await me.api("DELETE", hobby)).status_code == 204
    assert "hobby" not in (await me.get(path)).json()["attributes"]
    assert "囲碁" not in (await me.get(f"/addresses/{made['id']}")).text
    assert (await me.api("POST", PATH, json=FIELDS[4])).json()["errors"][0]["code"] == "key_taken"
    # A save in between does not lose what may be brought back.
    saved = await me.api("PUT", path, json={"name": "甲", "attributes": {"points": 1}})
    assert saved.json()["attributes"] == {"points": 1}
    assert (await me.api("POST", f"{hobby}/restore")).status_code == 200
    assert (await me.get(path)).json()["attributes"] == {"points": 1, "hobby": "囲碁"}
    await me.api("DELETE", hobby)
    known = world.parts.directory.get(tenant.name)
    assert known is not None
    for expected in (1, 0):
        async with world.parts.databases.transaction(known) as db:
            assert await erase_expired_attributes(db, utc_now() + timedelta(seconds=1), 100) == expected
    assert (await me.get("/api/v1/addresses?q=囲碁")).json()["total"] == 0
    assert (await me.api("POST", f"{hobby}/restore")).status_code == 404
    await define(me, [FIELDS[4]])
    assert (await me.get(path)).json()["attributes"] == {"points": 1}


@pytest.mark.parametrize("key", ["", "A", "1a", "a-b", "a b", "名", "a" * 41, "a'; DROP TABLE address;--", "a\n"])
async def test_keys_are_plain_words(world: World, key: str) -> None:
    me = await world.master(await world.tenant())
    assert (await me.api("POST", PATH, json={"key": key, "label": "x", "type": "text"})).status_code == 422


def test_numbers_that_are_none() -> None:
    field = AttributeOutput(
        id=1, key="n", label="n", type=AttributeType.NUMBER, required=False, choices=[], position=0, in_list=False
    )
    for value in (math.nan, math.inf, -math.inf, "nan", "Infinity", "٣x", [], {}):
        assert AttributeValues([field]).check({"n": value})[1][0].code == "number"
    assert AttributeValues([field]).check({"n": "0.1"})[0] == {"n": 0.1}
    assert AttributeValues([field]).parse("n", "－5") == (-5, "")
    assert AttributeValues([field]).parse("m", "5") == (None, "extra_forbidden")
