"""Counted links: they lead where the mail leads and nowhere else, and what is told of it is told with care."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import asyncpg
import pytest
from elink_app.accounts.permissions import Permission, Principal
from elink_app.clicks import rules, service
from elink_app.clicks.counts import links_output
from elink_app.clicks.service import Clicks
from elink_app.clock import utc_now
from elink_app.deliveries.service import Deliveries
from elink_app.templates.service import Templates

from tests.tenant_app.clicks.support import PAGE, TEXT, A, B, changed, sent
from tests.tenant_app.deliveries.conftest import office  # noqa: F401 - the fixture of this module
from tests.tenant_app.deliveries.support import SENDER, Office
from tests.tenant_app.deliveries.test_composed import composed
from tests.tenant_app.support import World

pytestmark = pytest.mark.postgres

TARO, HANAKO = "taro@a.example", "hanako@b.example"
LOCATIONS = [A, "https://xn--r8jz45g.jp/spring"]
NOTE = "リンクを開くと、開いたことが送信者の配信サービスに送られ、リンクごとの人数の集計だけに使われます。"


def numbers(links: Any) -> list[tuple[int | None, int | None]]:
    return [(one["human"], one["machine"]) for one in links["items"]]


async def test_a_link_leads_to_where_the_mail_says_and_is_counted_once(office: Office) -> None:  # noqa: F811
    one = await sent(office, people=5, layout="html", source=PAGE)
    assert len(one.paths) == 5
    for _ in range(2):
        for path, where in zip(one.paths[TARO], LOCATIONS, strict=True):
            answer = await one.open(path)
            assert (answer.status_code, answer.headers["location"]) == (302, where)
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["cache-control"] == "no-store"
            assert "set-cookie" not in answer.headers
            await one.later(timedelta(minutes=1))
    await one.open(one.paths[HANAKO][1], purpose="prefetch")
    links = await one.links()
    assert [(item["number"], item["url"]) for item in links["items"]] == [(1, A), (2, B)]
    assert numbers(links) == [(1, 0), (1, 1)]
    assert (links["counting"], links["left"], links["ended_at"]) == (True, ["https://a.example/?c={{会社}}"], None)
    metrics = office.world.parts.metrics.clicks
    assert [metrics.labels(kind)._value.get() for kind in ("human", "machine")] == [4, 1]


async def test_who_fetches_ahead_is_no_person_until_the_press(office: Office) -> None:  # noqa: F811
    one = await sent(office)
    path = one.paths[TARO][0]
    ahead = [
        {"purpose": "prefetch"}, {"sec-purpose": "prefetch;prerender"}, {"x-purpose": "Preview"}, {"x-moz": "prefetch"},
    ]  # fmt: skip
    for headers in ahead:
        await one.open(path, **headers)
        assert await one.rows() == [(1, False)]
    await one.open(path)
    assert await one.rows() == [(1, True)]
    await one.open(path, **ahead[0])
    assert await one.rows() == [(1, True)]


async def test_what_comes_at_once_after_the_mail_is_no_person(office: Office) -> None:  # noqa: F811
    one = await sent(office)
    await one.handed_over(timedelta(seconds=5))
    await one.open(one.paths[TARO][0])
    assert await one.rows() == [(1, False)]
    await one.handed_over(timedelta(seconds=16))
    await one.open(one.paths[TARO][0])
    assert await one.rows() == [(1, True)]


@pytest.fixture
def burst(monkeypatch: pytest.MonkeyPatch) -> timedelta:
    """What counts as the same moment: a busy machine may need more than a second for two requests."""
    for module in (rules, service):
        monkeypatch.setattr(module, "BURST", timedelta(minutes=2))
    return timedelta(minutes=2)


@pytest.mark.parametrize("together", [False, True])
async def test_all_links_in_one_moment_are_no_person(
    office: Office,  # noqa: F811
    burst: timedelta,
    together: bool,
) -> None:
    one = await sent(office)
    first, second = one.paths[TARO]
    if together:
        await asyncio.gather(one.open(first), one.open(second))
    else:
        await one.open(first)
        await one.open(second)
    assert await one.rows() == [(1, False), (2, False)]
    await one.later(burst)
    await one.open(second)
    assert await one.rows() == [(1, False), (2, True)]
    # Another recipient at the same moment is somebody else.
    await one.open(one.paths[HANAKO][0])
    assert (await one.rows()).count((1, True)) == 1


async def test_a_person_of_before_stays_one_when_a_scanner_comes_later(
    office: Office,  # noqa: F811
    burst: timedelta,
) -> None:
    one = await sent(office)
    first, second = one.paths[TARO]
    await one.open(first)
    await one.later(burst)
    await asyncio.gather(one.open(first), one.open(second))
    assert await one.rows() == [(1, True), (2, False)]


async def test_head_is_answered_and_not_counted(office: Office) -> None:  # noqa: F811
    one = await sent(office)
    answer = await one.open(one.paths[TARO][0], "HEAD")
    assert (answer.status_code, answer.headers["location"]) == (302, A)
    assert await one.rows() == []
    assert (await one.open(one.paths[TARO][0], "POST")).status_code in (403, 405)


async def test_forged_and_foreign_tokens_get_the_page_of_unknown_ones(office: Office, world: World) -> None:  # noqa: F811
    one, other = await sent(office), await sent(office)
    path = one.paths[TARO][0]
    token = path.removeprefix("/l/")
    unknown = (await one.open("/l/" + "0" * 54)).text
    other_ids = {"recipient": 10**6, "number": 2, "delivery": other.id}
    forged = [
        f"/l/{token[:-1]}{'0' if token[-1] != '0' else '1'}", f"/l/{token[:-2]}", f"{path}00", f"/l/{token.upper()}",
        *(changed(path, **{name: value}) for name, value in other_ids.items()), changed(path, number=0),
        changed(path, number=65535), f"/l/{'f' * 54}", "/l/https:%2F%2Fevil.example%2F", "/l/%00", "/l/x?url=//evil",
    ]  # fmt: skip
    for wrong in forged:
        if wrong == path:
            continue
        answer = await one.open(wrong)
        assert (answer.status_code, "location" in answer.headers) == (404, False), wrong
        if "%" not in wrong and "?" not in wrong:
            assert without_ids(answer.text, wrong) == without_ids(unknown, "/l/" + "0" * 54)
    # What a visitor adds changes nothing.
    answer = await one.open(f"{path}?url=https://evil.example/&next=//evil.example")
    assert answer.headers["location"] == A
    # Another tenant of the same server, even one that came by the same secret and the same rows.
    stranger = await world.tenant()
    await world.master(stranger)
    visitor = world.browser(stranger.host).client
    assert (await visitor.get(path)).status_code == 404
    async with world.server.inside(stranger.database) as inside:
        await copy_rows(office, inside)
    assert (await visitor.get(path)).status_code == 404
    assert await one.rows() == [(1, True)]


def without_ids(page: str, path: str) -> str:
    """A page without its address, its number and its token."""
    return re.sub(r'value="[^"]*"|<code>[^<]*</code>|[0-9a-f]{16}', "", page.replace(path, ""))


async def copy_rows(office: Office, inside: asyncpg.Connection) -> None:  # noqa: F811
    """What a thief of a backup would put into a tenant of his own."""
    for table in ("mail_secret", "delivery", "delivery_link"):
        for row in await office.sql(f'SELECT row_to_json(t)::text AS line FROM "{table}" t'):
            line = json.loads(row["line"])
            if table == "delivery":
                line |= {"made_by": None, "approved_by": None}
            record = f'SELECT * FROM json_populate_record(NULL::"{table}", $1)'
            await inside.execute(f'INSERT INTO "{table}" OVERRIDING SYSTEM VALUE {record}', json.dumps(line))


async def test_a_delivery_of_the_same_number_after_a_restore_has_other_tokens(office: Office) -> None:  # noqa: F811
    one = await sent(office)
    assert (await one.open(one.paths[TARO][0])).status_code == 302
    await office.sql("UPDATE delivery SET frozen_at = frozen_at + interval '1 second'")
    assert (await one.open(one.paths[TARO][0])).status_code == 404


async def test_an_address_that_is_none_is_never_led_to(office: Office) -> None:  # noqa: F811
    one = await sent(office)
    for url in ("javascript:alert(1)", "//evil.example/", "https://a.example/\r\nX: y", "data:text/html,x"):
        await office.sql("UPDATE delivery_link SET url = $1 WHERE number = 1", url)
        assert (await one.open(one.paths[TARO][0])).status_code == 404


async def test_closed_tenants_and_ended_deliveries(office: Office) -> None:  # noqa: F811
    one = await sent(office)
    path = one.paths[TARO][0]
    await office.sql("UPDATE delivery SET state = 'done', finished_at = now()")
    assert (await one.open(path)).status_code == 302
    for state, status in (("Suspended", 503), ("Cancelled", 410), ("Maintenance", 503)):
        await office.world.change(office.tenant, state=state)
        assert (await one.open(path)).status_code == status
    await office.world.change(office.tenant)
    assert (await one.open(path)).status_code == 302
    # Under another host the link is another tenant's, or nobody's.
    moved = replace(office.tenant, host=f"new-{office.tenant.host}")
    await office.world.change(moved)
    assert (await office.world.browser(moved.host).client.get(path)).status_code == 404
    assert (await one.open(path)).status_code == 404


async def test_after_30_days_the_numbers_stay_and_the_rows_are_gone(office: Office) -> None:  # noqa: F811
    one = await sent(office, people=5)
    await one.open(one.paths[TARO][0])
    await one.open(one.paths[HANAKO][0], purpose="prefetch")
    await office.sql("UPDATE delivery SET state = 'done', finished_at = now() - interval '29 days 23 hours'")
    assert (await one.clear_away())["clicks"] == 0
    await office.sql("UPDATE delivery SET finished_at = now() - interval '30 days'")
    late = await one.open(one.paths["3@m.example"][0])
    assert (late.status_code, late.headers["location"]) == (302, A)
    assert (await one.clear_away())["clicks"] == 2
    assert await one.rows() == []
    links = await one.links()
    assert numbers(links) == [(1, 1), (0, 0)]
    assert links["ended_at"] is not None
    assert "に集計を終えました" in (await office.me.get(f"/deliveries/{one.id}")).text
    # For good: also when the delivery goes on, as it does when unknown ones are sent again.
    await office.sql("UPDATE delivery SET finished_at = NULL, state = 'sending'")
    assert (await one.open(one.paths[TARO][0])).status_code == 302
    assert (await one.clear_away())["clicks"] == 0
    assert numbers(await one.links()) == [(1, 1), (0, 0)]
    assert await one.rows() == []


async def test_the_way_goes_on_when_the_count_cannot_be_written(office: Office) -> None:  # noqa: F811
    one = await sent(office)
    role = office.tenant.role
    await office.sql(f'REVOKE INSERT ON delivery_click FROM "{role}"')
    answer = await one.open(one.paths[TARO][0])
    assert (answer.status_code, answer.headers["location"]) == (302, A)
    assert office.world.parts.metrics.clicks.labels("lost")._value.get() == 1
    with patch.object(Clicks, "count", side_effect=RuntimeError("a mistake of ours")):
        assert (await one.open(one.paths[TARO][0])).status_code == 302
    assert await one.rows() == []


async def test_numbers_that_would_tell_of_one_person_are_not_told(office: Office) -> None:  # noqa: F811
    few = await sent(office, people=4)
    await few.open(few.paths[TARO][0])
    assert numbers(await few.links()) == [(None, None), (None, None)]
    page = (await office.me.get(f"/deliveries/{few.id}")).text
    assert "特定の方の行動が分かってしまう" in page
    assert "人と思われる数" not in page
    five = await sent(office, people=5)
    await five.open(five.paths[TARO][0])
    assert numbers(await five.links()) == [(1, 0), (0, 0)]
    clerk = Principal(99, "clerk@x.example", "", False, frozenset(Permission), None)
    assert await told(office, clerk, five.id) == [(1, 0), (0, 0)]
    await office.sql("INSERT INTO tag (name, key, is_label) VALUES ('秘', '秘', true)")
    assert await told(office, clerk, five.id) == [(None, None), (None, None)]


async def told(office: Office, principal: Principal, delivery_id: int) -> list[tuple[int | None, int | None]]:  # noqa: F811
    """What an account learns of a delivery's links."""
    tenant = office.world.parts.directory.get(office.tenant.name)
    assert tenant is not None
    async with office.world.parts.databases.transaction(tenant) as db:
        templates = Templates(db, tenant, utc_now, "https://x.example")
        found = await links_output(Deliveries(db, utc_now, "https://x.example", principal, templates), delivery_id)
    return numbers(found.model_dump())


async def test_pages_in_both_languages(office: Office) -> None:  # noqa: F811
    one = await sent(office, people=5)
    await one.open(one.paths[TARO][0])
    me = office.me
    page = (await me.get(f"/deliveries/{one.id}")).text
    for words in ("クリック(参考値)", "人と思われる数", "機械と思われる数", "参考値です。", A.replace("&", "&amp;"), B):
        assert words in page, words
    assert TARO not in page
    await me.post("/language", {"language": "en", "next": "/"})
    page = (await me.get(f"/deliveries/{one.id}")).text
    for words in ("Clicks (reference values)", "Probably people", "Probably machines", "Reference values: recipients"):
        assert words in page, words
    assert "https://a.example/?c={{会社}}" in page
    manual = (await me.get("/manual/deliveries")).text
    assert "Clicks (reference values)" in manual
    await me.post("/language", {"language": "ja", "next": "/"})
    assert "クリックを数える" in (await me.get("/manual/deliveries")).text


async def test_the_switch_in_the_form(office: Office) -> None:  # noqa: F811
    form = {
        "name": "春", "category": "notice", "from_address": SENDER, "segment_id": str(office.segment), "subject": "春",
        "text_body": A, "layout": "none", "count_clicks": "1",
    }  # fmt: skip
    made = await office.me.post("/deliveries", form)
    path = made.headers["location"].partition("?")[0]
    edit = (await office.me.get(f"{path}/edit")).text
    assert 'name="count_clicks" value="1" aria-describedby="count_clicks-hint" checked' in edit
    page = (await office.me.get(path)).text
    assert "<dt>クリックを数える</dt><dd>はい</dd>" in page
    assert "クリック(参考値)" in page
    wrong = await office.me.post(path, {**form, "name": "", "version": "1"})
    assert wrong.status_code == 422
    assert "checked" in wrong.text.partition('name="count_clicks"')[2][:80]
    # An empty box is not sent at all.
    del form["count_clicks"]
    assert (await office.me.post(path, {**form, "version": "1"})).status_code == 303
    page = (await office.me.get(path)).text
    assert "<dt>クリックを数える</dt><dd>いいえ</dd>" in page
    assert "クリック(参考値)" not in page
    logs = await office.sql(
        "SELECT after FROM audit_entry WHERE action IN ('delivery.made', 'delivery.saved') ORDER BY number"
    )
    assert ["count_clicks" in row["after"] for row in logs] == [True, False]


async def test_the_switch_is_approved_with_the_content(office: Office) -> None:  # noqa: F811
    await office.rules(approval_required=True)
    made = await office.ready(text_body=TEXT, count_clicks=True)
    await office.foreign_author(made["id"])
    assert "リンクのクリックを数えます" in (await office.me.get(f"/deliveries/{made['id']}")).text
    await office.sql("UPDATE delivery SET count_clicks = false WHERE id = $1", made["id"])
    approval = {"content_sha256": made["content_sha256"]}
    refused = await office.call("POST", f"/deliveries/{made['id']}/approve", 409, json=approval)
    assert refused["type"].endswith("content-changed")
    await office.sql("UPDATE delivery SET count_clicks = true WHERE id = $1", made["id"])
    await office.call("POST", f"/deliveries/{made['id']}/approve", json=approval)


async def test_off_by_default_and_nothing_is_kept(office: Office) -> None:  # noqa: F811
    made = await office.ready(text_body=TEXT, layout="html", source=PAGE)
    assert made["count_clicks"] is False
    await office.call("POST", f"/deliveries/{made['id']}/release", json={"when": "now"})
    assert await office.sql("SELECT 1 FROM delivery_link") == []
    links = await office.call("GET", f"/deliveries/{made['id']}/links")
    assert links == {"counting": False, "items": [], "left": [], "ended_at": None}
    mail = (await composed(office, made["id"]))[TARO].as_string()
    assert "/l/" not in mail
    assert NOTE not in (await office.call("GET", f"/deliveries/{made['id']}/preview"))["text"]


async def test_recipients_are_told_and_the_laws_footer_stays(office: Office) -> None:  # noqa: F811
    await office.rules(contact="https://sakura.example/contact")
    made = await office.draft(
        category="advert", text_body=f"{A}\nhttps://sakura.example/contact", layout="html", source=PAGE,
        count_clicks=True,
    )  # fmt: skip
    shown = await office.call("GET", f"/deliveries/{made['id']}/preview")
    assert shown["text"].count(NOTE) == shown["html"].count(NOTE) == 1
    assert shown["text"].index(NOTE) < shown["text"].index("【送信者】")
    # Previews hold the links as they were written.
    assert A in shown["text"]
    links = await office.call("GET", f"/deliveries/{made['id']}/links")
    assert [one["url"] for one in links["items"]] == [A, B]
    nothing = await office.draft(text_body="リンクなし", count_clicks=True)
    assert NOTE not in (await office.call("GET", f"/deliveries/{nothing['id']}/preview"))["text"]
    assert "数えられるリンクがありません" in (await office.me.get(f"/deliveries/{nothing['id']}")).text


async def test_an_order_that_is_taken_back_takes_the_links_back(office: Office) -> None:  # noqa: F811
    made = await office.ready(text_body=TEXT, count_clicks=True)
    for _ in range(2):
        await office.call("POST", f"/deliveries/{made['id']}/release", json={"when": "now"})
        assert len(await office.sql("SELECT 1 FROM delivery_link")) == 2
        await office.call("POST", f"/deliveries/{made['id']}/take-back")
        assert await office.sql("SELECT 1 FROM delivery_link") == []
