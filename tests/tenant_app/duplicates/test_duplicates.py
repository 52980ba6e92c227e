"""Duplicates are found, merged field by field, and parted again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from elink_app.accounts.permissions import ALL, Principal
from elink_app.addresses.service import AddressBook
from elink_app.audit.service import Actor
from elink_app.clock import utc_now
from elink_app.duplicates.schemas import Likeness, MergeInput
from elink_app.duplicates.service import Duplicates
from elink_app.errors import NotFound

from tests.tenant_app.support import Browser, World

pytestmark = pytest.mark.postgres

PATH = "/api/v1/duplicates"


async def add(me: Browser, **values: object) -> int:
    answer = await me.api("POST", "/api/v1/addresses", json={"name": "山田 太郎", **values})
    assert answer.status_code == 201, answer.text
    number: int = answer.json()["id"]
    return number


async def groups(me: Browser, by: str) -> list[list[int]]:
    answer = await me.get(f"{PATH}?by={by}")
    assert answer.status_code == 200, answer.text
    return [[row["id"] for row in group["addresses"]] for group in answer.json()["items"]]


async def test_found_by_what_they_have_in_common(world: World) -> None:
    me = await world.master(await world.tenant())
    one = await add(me, company="株式会社Ａ", phone="03-1234-5678", emails=["a@b.jp", "x@b.jp"])
    two = await add(me, name="山田太郎", company="株式会社 a", emails=["A@b.jp"])
    three = await add(me, name="別人", phone="(03)12345678", emails=["X@b.jp"])
    await add(me, name="四")
    gone = await add(me, company="株式会社Ａ", emails=["a@b.jp"])
    await me.api("DELETE", f"/api/v1/addresses/{gone}")
    assert await groups(me, "email") == [[one, two], [one, three]]
    assert await groups(me, "name") == [[one, two]]
    assert await groups(me, "phone") == [[one, three]]
    first = (await me.get(f"{PATH}?by=email&size=1")).json()
    rest = (await me.get(f"{PATH}?by=email&size=1&after={first['next']}")).json()
    assert [group["key"] for group in first["items"] + rest["items"]] == ["a@b.jp", "x@b.jp"]
    assert rest["next"] is None
    assert (await me.get(f"{PATH}?by=sql")).status_code == 422


async def test_merged_field_by_field_and_parted_again(world: World) -> None:
    tenant = await world.tenant(limits={"addresses": 3})
    me = await world.master(tenant)
    for key in ("rank", "size"):
        await me.api("POST", "/api/v1/attributes", json={"key": key, "label": key, "type": "text"})
    one = await add(me, phone="1", emails=["a@b.jp"], tags=["甲"], attributes={"rank": "A"})
    two = await add(me, phone="2", notes="二", emails=["A@b.jp", "c@b.jp"], tags=["乙"],
                    attributes={"rank": "B", "size": "L"})  # fmt: skip
    before = (await me.get(f"/api/v1/addresses/{one}")).json()
    body = {"keep": one, "merge": [two], "choices": {"phone": two, "notes": two}, "versions": {str(two): 1}}
    answer = await me.api("POST", f"{PATH}/merge", json=body)
    assert answer.status_code == 200, answer.text
    made = answer.json()
    merged = made["address"]
    assert (merged["id"], merged["phone"], merged["notes"]) == (one, "2", "二")
    assert merged["emails"] == ["a@b.jp", "c@b.jp"]
    assert set(merged["tags"]) == {"甲", "乙"}
    assert merged["attributes"] == {"rank": "A", "size": "L"}
    assert (await me.get(f"/api/v1/addresses/{two}")).status_code == 404
    assert (await me.get("/api/v1/addresses")).json()["total"] == 1
    assert (await me.api("POST", f"{PATH}/merge", json=body)).status_code == 404
    undo = f"{PATH}/merges/{made['id']}/undo"
    assert (await me.api("POST", undo)).status_code == 200
    after = (await me.get(f"/api/v1/addresses/{one}")).json()
    changing = ("version", "updated_at")
    assert {k: v for k, v in after.items() if k not in changing} == {
        k: v for k, v in before.items() if k not in changing
    }
    assert (await me.get(f"/api/v1/addresses/{two}")).json()["phone"] == "2"
    assert (await me.api("POST", undo)).status_code == 404
    async with world.server.inside(tenant.database) as inside:
        actions = [row[0] for row in await inside.fetch("SELECT action FROM audit_entry ORDER BY number")]
    assert {"address.merge", "address.merge-undo"} <= set(actions)


async def test_what_cannot_be_merged_or_undone(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    one, two = await add(me), await add(me)
    stranger = await add(await world.master(await world.tenant()))
    merge = f"{PATH}/merge"
    for body, status in (
        ({"keep": one, "merge": [one]}, 422),
        ({"keep": one, "merge": [two, two]}, 422),
        ({"keep": one, "merge": []}, 422),
        ({"keep": one, "merge": [two], "choices": {"name": stranger + 1000}}, 422),
        ({"keep": one, "merge": [two], "choices": {"deleted_at": two}}, 422),
        ({"keep": one, "merge": [two, 99999]}, 404),
        ({"keep": 99999, "merge": [two]}, 404),
        ({"keep": one, "merge": [two], "versions": {str(one): 7}}, 409),
    ):
        assert (await me.api("POST", merge, json=body)).status_code == status, body
    assert (await me.get("/api/v1/addresses")).json()["total"] == 2
    made = (await me.api("POST", merge, json={"keep": one, "merge": [two]})).json()
    await me.api("PUT", f"/api/v1/addresses/{one}", json={"name": "その後"})
    assert (await me.api("POST", f"{PATH}/merges/{made['id']}/undo")).status_code == 409
    async with world.server.inside(tenant.database) as inside:
        await inside.execute("UPDATE address_merge SET at = now() - interval '8 days'")
    assert (await me.api("POST", f"{PATH}/merges/{made['id']}/undo")).status_code == 404


async def test_more_than_an_address_holds_is_refused(world: World) -> None:
    me = await world.master(await world.tenant())
    one = await add(me, emails=[f"a{n}@b.jp" for n in range(3)])
    two = await add(me, emails=[f"b{n}@b.jp" for n in range(3)])
    answer = await me.api("POST", f"{PATH}/merge", json={"keep": one, "merge": [two]})
    assert [(wrong["pointer"], wrong["code"]) for wrong in answer.json()["errors"]] == [("/emails", "too_long")]


async def test_hidden_addresses_are_neither_found_nor_merged(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    one, hidden = await add(me, phone="1", emails=["a@b.jp"]), await add(me, phone="1", emails=["a@b.jp"], tags=["秘"])
    tag = (await me.get("/api/v1/tags")).json()[0]["id"]
    await me.api("PUT", f"/api/v1/tags/{tag}/label", json={"is_label": True})
    known = world.parts.directory.get(tenant.name)
    assert known is not None
    who, actor, window = Principal(9, "x", "", False, ALL, None), Actor(None, "x", ""), timedelta(days=7)
    for likeness in Likeness:
        async with world.parts.databases.transaction(known) as db:
            book = AddressBook(db, known, utc_now, window, who, actor)
            assert (await Duplicates(db, book, who, actor, utc_now, window).page(likeness)).items == []
    for body in ({"keep": one, "merge": [hidden]}, {"keep": hidden, "merge": [one]}):
        async with world.parts.databases.transaction(known) as db:
            book = AddressBook(db, known, utc_now, window, who, actor)
            with pytest.raises(NotFound):
                await Duplicates(db, book, who, actor, utc_now, window).merge(MergeInput.model_validate(body))
    assert len((await me.get(f"{PATH}?by=phone")).json()["items"]) == 1
