"""Own fields: definitions, and values through API and pages."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from elink_app.addresses.computed import computed
from elink_app.addresses.erasing import erase_expired_attributes
from elink_app.addresses.schemas import AddressInput
from elink_app.attributes.schemas import AttributeOutput, AttributeType, AttributeValues, as_typed
from elink_app.audit import chain
from elink_app.clock import utc_now
from elink_app.numbers import number_text
from elink_app.templates.fields import shown as shown_in_mails
from elink_app.transfer import exporter, workbook_reader
from elink_app.utilities import programs
from elink_app.utilities.schemas import EditProgram

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
    ({"points": 1e-7}, "/attributes/points", "number"),
    ({"points": 0.1 + 0.2}, "/attributes/points", "number"),
    ({"points": 10**400}, "/attributes/points", "number"),
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


@pytest.mark.parametrize("key", ["model_dump", "model_config", "model_validate", "copy", "value_0", "v0"])
async def test_any_plain_word_can_be_a_key(world: World, key: str) -> None:
    """Also one by which the library that checks values calls something of its own."""
    me = await world.master(await world.tenant())
    await define(me, [{"key": key, "label": "x", "type": "text"}, {"key": "other", "label": "y", "type": "number"}])
    made = await me.api("POST", "/api/v1/addresses", json={"name": "甲", "attributes": {key: "a", "other": 1}})
    assert (made.status_code, made.json()["attributes"]) == (201, {key: "a", "other": 1})
    wrong = await me.api("POST", "/api/v1/addresses", json={"name": "甲", "attributes": {key: "a\0", "V9": 1}})
    found = [(one["pointer"], one["code"]) for one in wrong.json()["errors"]]
    assert found == [(f"/attributes/{key}", "control_character"), ("/attributes/V9", "extra_forbidden")]
    field = {"key": key, "label": "x", "kind": "text", "required": True}
    assert (await me.api("POST", "/api/v1/user-fields", json=field)).status_code == 201
    missing = await me.api("POST", "/api/v1/users", json={"email": "a@user.example"})
    assert [one["pointer"] for one in missing.json()["errors"]] == [f"/attributes/{key}"]
    user = await me.api("POST", "/api/v1/users", json={"email": "a@user.example", "attributes": {key: "b"}})
    assert (user.status_code, user.json()["attributes"]) == (201, {key: "b"})


def test_numbers_that_are_none() -> None:
    field = AttributeOutput(
        id=1, key="n", label="n", type=AttributeType.NUMBER, required=False, choices=[], position=0, in_list=False
    )
    for value in (math.nan, math.inf, -math.inf, "nan", "Infinity", "٣x", [], {}):
        assert AttributeValues([field]).check({"n": value})[1][0].code == "number"
    assert AttributeValues([field]).check({"n": "0.1"})[0] == {"n": 0.1}
    assert AttributeValues([field]).parse("n", "－5") == (-5, "")
    assert AttributeValues([field]).parse("m", "5") == (None, "extra_forbidden")


async def test_small_numbers_are_shown_and_saved_again_in_digits(world: World) -> None:
    me = await world.master(await world.tenant())
    await define(me, [{"key": "rate", "label": "料率", "type": "number", "in_list": True}])
    made = (await me.api("POST", "/api/v1/addresses", json={"name": "甲", "attributes": {"rate": 5e-05}})).json()
    assert made["attributes"] == {"rate": 0.00005}
    form = await me.get(f"/addresses/{made['id']}/edit")
    for page in (await me.get(f"/addresses/{made['id']}"), await me.get("/addresses"), form):
        assert "0.00005" in page.text
        assert "5e-05" not in page.text
    # What the form shows can be saved.
    typed = {"name": "乙", "version": "1", "attributes.rate": "0.00005"}
    assert (await me.post(f"/addresses/{made['id']}", typed)).status_code == 303
    assert (await me.get(f"/api/v1/addresses/{made['id']}")).json()["attributes"] == {"rate": 0.00005}
    assert (await me.get("/api/v1/addresses", params={"q": "0.00005"})).json()["total"] == 1
    assert (await me.get("/api/v1/addresses", params={"q": "5e-05"})).json()["total"] == 0
    tree = {"kind": "all", "of": [{"kind": "attribute", "key": "rate", "op": "is", "value": 5e-05}]}
    segment = (await me.api("POST", "/api/v1/segments", json={"name": "料率", "tree": tree})).json()
    assert 'value="0.00005"' in (await me.get(f"/segments/{segment['id']}/edit")).text


@pytest.mark.parametrize(
    ("number", "text"),
    [(5e-05, "0.00005"), (-0.000001, "-0.000001"), (1e-300, "0." + "0" * 299 + "1"), (12.5, "12.5"), (7, "7"),
     (10**15 - 1, "9" * 15), (1e22, "1" + "0" * 22)],
)  # fmt: skip
def test_every_place_writes_numbers_in_digits(number: float, text: str) -> None:
    program = EditProgram(program="edit", field="attribute:n", value="1")
    person = AddressInput(name="x")
    assert number_text(number) == text
    assert shown_in_mails(number) == text
    assert exporter._value(number) == text
    assert as_typed(number) == text
    assert programs.shown(program, {"attributes": {"n": number}}) == text
    assert text in computed(person, [], {"n": number})["search_text"].split("\n")
    assert chain.plain({"n": float(number)})["n"].removesuffix(".0") == text
    assert workbook_reader._cell(float(number)).removesuffix(".0") == text


def test_of_many_digits_the_nearest_number_is_still_one_that_is_accepted() -> None:
    field = AttributeOutput(id=1, key="n", label="n", type=AttributeType.NUMBER, required=False, choices=[],
                            position=0, in_list=False)  # fmt: skip
    values = AttributeValues([field])
    for typed in ("123456789012345.123456", "0.000001", "-999999999999999", "0.5", "1,000.10"):
        kept, errors = values.check({"n": typed})
        assert not errors
        assert values.check({"n": number_text(kept["n"])}) == (kept, [])
        assert values.check(kept) == (kept, [])
    assert values.check({"n": "999999999999999.999999"})[1][0].code == "number"
