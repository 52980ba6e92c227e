"""Odd characters: what hides, turns round or is no character is refused; what is the same is found to be the same."""

from __future__ import annotations

import sys

import pytest
from elink_app.addresses.repository import Cursor, Order
from elink_app.addresses.schemas import AddressInput
from elink_app.text import kana_sort_key
from pydantic import ValidationError

from tests.tenant_app.support import Browser, World

pytestmark = pytest.mark.postgres

REFUSED = {
    "bidi override": "山田\u202eexe.jpg", "bidi isolate": "山\u2066田", "bidi mark": "山\u200f田", "NUL": "山\0田",
    "escape": "山\x1b[2J田", "next line": "山\x85田", "byte order mark": "山\ufeff田", "no character": "山\uffff田",
    "interlinear": "山\ufff9田",
}  # fmt: skip


async def test_odd_characters(world: World) -> None:
    me = await world.master(await world.tenant())

    async def made(**body: object) -> int:
        return (await me.api("POST", "/api/v1/addresses", json={"name": "山田", **body})).status_code

    for what, value in REFUSED.items():
        for field in ("name", "company", "notes", "postal_address"):
            assert (what, field, await made(**{field: value})) == (what, field, 422)
        assert (what, await made(tags=[value])) == (what, 422)
        page = await me.post("/addresses", {"name": value})
        assert (what, page.status_code) == (what, 422)
        await me.get("/addresses", params={"q": value})
    # A lone half of a pair is no text: JSON can name it, nothing keeps it.
    raw = '{"name": "\\ud800"}'
    answer = await me.api("POST", "/api/v1/addresses", content=raw, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    # People write with joiners: emoji of families, and names in scripts that need them.
    assert await made(name="👨\u200d👩\u200d👧 山田") == 201
    # A hundred marks over one letter are a hundred characters.
    assert await made(name="e" + "\u0301" * 200) == 422
    assert (await me.get("/api/v1/addresses")).json()["total"] == 1


async def test_what_grows_when_it_is_put_in_form_is_measured_afterwards(world: World) -> None:
    me = await world.master(await world.tenant())
    every = {"kind": "all", "of": []}
    # Sixteen digits get a hyphen; one sign stands for two digits, one for the word kilometre.
    for path, body in (
        ("addresses", {"name": "山田", "postal_code": "1234567890123456"}),
        ("addresses", {"name": "山田", "phone": "⑳" * 30}),
        ("addresses", {"name": "山田", "tags": ["㌖" * 20]}),
        ("addresses", {"name": "㍿" * 51}),
        ("addresses", {"name": "山田", "company": "ﷺ" * 14}),
        ("tags", {"name": "㌖" * 20}),
        ("segments", {"name": "㌖" * 40, "tree": every}),
    ):
        answer = await me.api("POST", f"/api/v1/{path}", json=body)
        assert (path, answer.status_code) == (path, 422)
        assert answer.json()["errors"][0]["code"] == "string_too_long"


async def walk(me: Browser, path: str, key: str) -> list[str]:
    """Every item of a list, a page of one after the other."""
    seen: list[str] = []
    cursor = ""
    while True:
        name = "cursor" if path == "addresses" else "after"
        answer = await me.get(f"/api/v1/{path}", params={"size": 1, **({name: cursor} if cursor else {}), "by": "name"})
        assert answer.status_code == 200, answer.text
        seen += [item[key] for item in answer.json()["items"]]
        if (cursor := answer.json()["next"]) is None:
            return seen


async def test_lists_can_be_leafed_through_whatever_names_grow_to(world: World) -> None:
    me = await world.master(await world.tenant())
    grown = ["ﷺ" * 13, "㍿" * 50, "㌖" * 33, "각" * 100, "ᾂ" * 66, "ﬃ" * 66, "\U0001d160" * 66, "𠮷" * 100, "ガ" * 100]
    for name in grown:
        for _ in range(2):
            made = await me.api("POST", "/api/v1/addresses", json={"name": name, "company": name})
            assert (name, made.status_code) == (name, 201)
    assert sorted(await walk(me, "addresses", "name")) == sorted(grown * 2)
    assert len(set(await walk(me, "duplicates", "key"))) == len(grown)
    page = (await me.get("/api/v1/addresses", params={"size": 1})).json()
    following = (await me.get("/api/v1/addresses", params={"size": 1, "cursor": page["next"]})).json()
    back = (await me.get("/api/v1/addresses", params={"size": 1, "cursor": following["previous"]})).json()
    assert back["items"] == page["items"]


def test_no_name_makes_a_key_that_a_cursor_cannot_hold() -> None:
    """Of every character that grows, as many as are accepted."""
    growing = (chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000)
    found = 0
    for one in growing:
        if len(kana_sort_key("", one)) < 6:
            continue
        length = 100
        while True:
            try:
                name = AddressInput(name=one * length).name
                break
            except ValidationError:
                length -= 1
        found += 1
        cursor = Cursor(kana_sort_key("", name), 2**63 - 1, backwards=False)
        assert (one, Cursor.decode(cursor.encode(), Order.KANA)) == (one, cursor)
        assert len(cursor.encode()) < 4000
        # What an entry of PostgreSQL's index may hold.
        assert len(cursor.key.encode()) < 2600
    assert found > 500


async def test_one_text_in_two_forms_is_one(world: World) -> None:
    me = await world.master(await world.tenant())
    composed, apart = "ガ\u00e9", "カ\u3099e\u0301"
    for name in (composed, apart):
        answer = await me.api("POST", "/api/v1/addresses", json={"name": f"{name}社", "tags": [name]})
        assert answer.status_code == 201
    for query in (composed, apart, "ｶﾞé"):
        found = (await me.get("/api/v1/addresses", params={"q": query})).json()
        assert (query, found["total"]) == (query, 2)
    assert len((await me.get("/api/v1/tags")).json()) == 1


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("taro@例え.jp", "taro@xn--r8jz45g.jp"),
        # Cyrillic а: another domain, and shown as what it is.
        ("taro@p\u0430ypal.example", "taro@xn--pypal-4ve.example"),
        ("TARO@EXAMPLE.JP", "TARO@example.jp"),
        ("ｔａｒｏ@example.jp", None),
        ("taro\u200b@example.jp", None),
        ("taro@exam\u00adple.jp", "taro@example.jp"),
        ("taro@\u202eexample.jp", None),
        ("taro@例\u200b.jp", None),
        ("tar\u043e@example.jp", None),
        ("a@b.example\r\nBcc: c@d.example", None),
        ("taro@exam\uff0fple.jp", None),
    ],
)
async def test_hosts_that_look_like_others(given: str, kept: str | None) -> None:
    from elink_app.emails import clean_email

    found = clean_email(given)
    assert found == kept or found is None
    assert found is None or found.isascii()
