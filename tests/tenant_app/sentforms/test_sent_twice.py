"""Forms that make something: sent twice they make it once, and lead to it both times."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from datetime import timedelta

import pytest
from elink_app.clock import utc_now
from elink_app.sentforms.repository import SentFormRepository
from elink_app.sentforms.service import form_sha256, new_form_key

from tests.tenant_app.people.support import invite, link_for, member, one, run
from tests.tenant_app.support import Browser, World

pytestmark = pytest.mark.postgres

SENDER = ("/settings/sender", "/settings/sender/addresses", {"email": "info@sakura.example", "name": "さくら"})
# The page with the form, where it is sent, what is typed, the table of what it makes.
FORMS: Mapping[str, tuple[str, str, dict[str, object]]] = {
    "address": ("/addresses/new", "/addresses", {"name": "山田 花子", "emails": ["hanako@yamada.example", ""]}),
    "tag": ("/tags", "/tags", {"name": "顧客"}),
    "segment": ("/segments/new", "/segments",
                {"name": "東京", "kind": "all", "level": "1", "what": "name", "op": "contains", "value": "山"}),
    "template": ("/templates/new", "/templates",
                 {"name": "ご案内", "subject": "件名", "text_body": "本文", "layout": "none", "source": ""}),
    "delivery": ("/deliveries/new", "/deliveries", {"name": "四月号", "category": "notice", "layout": "none"}),
    "role": ("/roles/new", "/roles", {"name": "営業", "permissions": ["addresses:view"]}),
    "account": ("/users/new", "/users", {"email": "aya@user.example", "display_name": "彩"}),
    "user_field": ("/user-fields", "/user-fields", {"key": "office", "label": "勤務地", "kind": "text"}),
    "attribute": ("/settings/attributes", "/settings/attributes", {"key": "hobby", "label": "趣味", "type": "text"}),
    "sender_address": SENDER,
    "dkim_key": ("/settings/dkim", "/settings/dkim", {"domain": "sakura.example"}),
    "job": ("/exports", "/exports", {"format": "csv", "q": "山田"}),
}  # fmt: skip


async def form_key(browser: Browser, page: str, action: str) -> str:
    """The key of the form on this page that is sent to `action`."""
    text = (await browser.get(page)).text
    form = re.search(rf'<form[^>]*action="{re.escape(action)}".*?</form>', text, re.S)
    assert form, text
    found = re.search(r'name="form_key" value="([\w-]+)"', form[0])
    assert found, form[0]
    return found[1]


@pytest.mark.parametrize("table", FORMS)
async def test_pressed_twice_makes_one_and_leads_to_it(world: World, table: str) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    page, action, typed = FORMS[table]
    if table == "dkim_key":
        await me.post(SENDER[1], SENDER[2])
    before = await one(world, tenant, f"SELECT count(*) FROM {table}")
    sent = {**typed, "form_key": await form_key(me, page, action)}
    pressed = await asyncio.gather(*(me.post(action, sent) for _ in range(3)))
    back = await me.post(action, sent)
    assert [answer.status_code for answer in (*pressed, back)] == [303] * 4, [answer.text for answer in pressed]
    assert len({answer.headers["location"] for answer in (*pressed, back)}) == 1
    assert (await me.get(back.headers["location"])).status_code == 200
    assert await one(world, tenant, f"SELECT count(*) FROM {table}") == before + 1


async def test_something_else_typed_or_another_form_is_another_thing(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    key = await form_key(me, "/addresses/new", "/addresses")
    places = set()
    for sent in (
        {"name": "山田 花子", "form_key": key},
        {"name": "山田 太郎", "form_key": key},
        {"name": "山田 花子", "form_key": await form_key(me, "/addresses/new", "/addresses")},
        # Without a key of ours a form counts each time, as before.
        *({"name": "山田 花子", "form_key": wrong} for wrong in ("", "x" * 5000, "' OR 1=1 --", "あ" * 22, key + "\n")),
    ):
        answer = await me.post("/addresses", sent)
        assert answer.status_code == 303
        places.add(answer.headers["location"])
    assert len(places) == 8
    assert await one(world, tenant, "SELECT count(*) FROM address") == 8


async def test_a_refused_form_can_be_sent_again(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    await me.api("POST", "/api/v1/tags", json={"name": "顧客"})
    sent = {"name": "顧客", "form_key": await form_key(me, "/tags", "/tags")}
    assert (await me.post("/tags", sent)).status_code == 422
    assert await one(world, tenant, "SELECT count(*) FROM sent_form") == 0
    tag = (await me.get("/api/v1/tags")).json()[0]["id"]
    await me.api("DELETE", f"/api/v1/tags/{tag}")
    assert (await me.post("/tags", sent)).status_code == 303


async def test_the_key_of_somebody_else_leads_nowhere(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    other, _, _ = await member(world, tenant, me, "addresses:view", "addresses:edit")
    sent = {"name": "山田 花子", "form_key": await form_key(me, "/addresses/new", "/addresses")}
    mine, theirs = await me.post("/addresses", sent), await other.post("/addresses", sent)
    assert mine.headers["location"] != theirs.headers["location"]
    # Nor does one's own, once the permission is gone.
    await run(world, tenant, "UPDATE role SET permissions = '{addresses:view}'")
    assert (await other.post("/addresses", sent)).status_code == 403


async def test_an_invitation_sent_again_by_two_presses_is_one_mail_with_a_link_that_works(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    user_id = await invite(me, "aya@user.example")
    action = f"/users/{user_id}/invite"
    sent = {"form_key": await form_key(me, f"/users/{user_id}", action)}
    first, second = await me.post(action, sent), await me.post(action, sent)
    assert (first.status_code, second.headers["location"]) == (303, first.headers["location"])
    assert await one(world, tenant, "SELECT count(*) FROM outbox_mail") == 2
    token = await link_for(world, tenant, "aya@user.example")
    assert (await world.browser(tenant.host).get(f"/welcome?token={token}")).status_code == 200


async def test_what_is_remembered_is_bounded_and_forgotten(world: World) -> None:
    tenant = await world.tenant()
    await world.master(tenant)
    known = world.parts.directory.get(tenant.name)
    assert known is not None
    master, now = await one(world, tenant, "SELECT id FROM account"), utc_now()
    async with world.parts.databases.transaction(known) as db:
        rows = SentFormRepository(db)
        for number in range(60):
            await rows.push(master, number.to_bytes(32, "big"), f"/addresses/{number}", now, 50)
        assert await rows.led_to(master, (9).to_bytes(32, "big")) is None
        assert await rows.led_to(master, (10).to_bytes(32, "big")) == "/addresses/10"
        assert await rows.purge(now) == 0
        assert await rows.purge(now + timedelta(seconds=1)) == 50


def test_the_hash_tells_forms_apart() -> None:
    key = new_form_key()
    forms = {
        form_sha256(key, "/tags", [("name", "a")]),
        form_sha256(key, "/tags", [("name", "b")]),
        form_sha256(key, "/roles", [("name", "a")]),
        form_sha256(key, "/tags", [("name", "a"), ("name", "a")]),
        form_sha256(new_form_key(), "/tags", [("name", "a")]),
        form_sha256(key, "/tags", [("name", "\ud800")]),
    }
    assert len(forms) == 6
    assert form_sha256("short", "/tags", []) is None
