"""Odd characters: what hides, turns round or is no character is refused; what is the same is found to be the same."""

from __future__ import annotations

import pytest

from tests.tenant_app.support import World

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
