"""The pages of deliveries: the way of a person without script, and input that means harm."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from elink_app.clock import JST

from tests.tenant_app.deliveries.support import SENDER, Office
from tests.tenant_app.support import PASSWORD, Browser, World, read_token

pytestmark = pytest.mark.postgres

SCRIPT = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>"


def form(office: Office, **changes: Any) -> dict[str, Any]:
    return {
        "name": "春の案内", "category": "notice", "from_name": "さくら商店", "from_address": SENDER, "reply_to": "",
        "segment_id": str(office.segment), "subject": "{{名前}} 様", "text_body": "本文", "layout": "none",
        "source": "", "template_id": "", "version": "", **changes,
    }  # fmt: skip


async def test_from_the_first_word_to_the_order_and_back(office: Office) -> None:
    me = office.me
    assert "まだありません" in (await me.get("/deliveries")).text
    made = await me.post("/deliveries", form(office))
    assert made.status_code == 303, made.text
    path = made.headers["location"].partition("?")[0]
    page = (await me.get(path)).text
    assert "下書き" in page
    assert f"<dt>配信の番号</dt><dd>{path.rpartition('/')[2]}</dd>" in page, "segments ask for it"
    page = (await me.get(f"{path}/audience")).text
    assert "ほかの登録と同じメールアドレス" in page
    assert "メールアドレスなし" in page
    assert (await me.post(f"{path}/request")).status_code == 303
    page = (await me.get(path)).text
    assert "2 件の宛先" in page
    assert 'name="when"' in page
    await office.rules(type_count_above=0)
    wrong = await me.post(f"{path}/release", {"when": "now", "typed_count": "20"})
    assert wrong.status_code == 422
    assert "宛先の件数と一致しません" in wrong.text
    assert await office.sql("SELECT 1 FROM delivery_recipient") == []
    sent = await me.post(f"{path}/release", {"when": "now", "typed_count": "2"})
    assert sent.status_code == 303
    page = (await me.get(f"{path}?watch=1")).text
    assert "取り消せます" in page
    assert '<meta http-equiv="refresh" content="5">' in page
    assert "http-equiv" not in (await me.get(path)).text
    page = (await me.get(f"{path}/recipients")).text
    assert "taro@a.example" in page
    assert "到達や開封を示すものではありません" in page
    await office.sql("UPDATE delivery_recipient SET reply = 'complaint: abuse' WHERE email = 'taro@a.example'")
    assert "迷惑メールとしての報告：abuse" in (await me.get(f"{path}/recipients")).text
    for what, word in (("take-back", "承認済"), ("cancel", "中止")):
        assert (await me.post(f"{path}/{what}")).status_code == 303
        assert word in (await me.get(path)).text
    again = await me.post(f"{path}/pause")
    assert again.status_code == 409
    assert "配信の状態が変わりました" in again.text


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("sender_refused", "この差出人からの送信を受け付けません"),
        ("too_large", "受け付ける大きさを超えています"),
        ("cannot_compose", "メールを作成できません"),
        ("too_late", "2 時間以上過ぎています"),
    ],
)
async def test_why_it_stands_still_is_said_in_words(office: Office, reason: str, words: str) -> None:
    path = f"/deliveries/{(await office.ready())['id']}"
    moment = (datetime.now(JST) + timedelta(days=2)).strftime("%Y-%m-%dT%H:%M")
    assert (await office.me.post(f"{path}/release", {"when": "at", "at": moment})).status_code == 303
    await office.sql("UPDATE delivery SET state = 'paused', state_reason = $1", reason)
    page = (await office.me.get(path)).text
    assert words in page
    assert reason not in page
    assert "に配信予定です" in page, "until it has begun, it waits for that moment when it is resumed"
    await office.sql("UPDATE delivery_recipient SET state = 'refused', next_at = NULL, reply = 'bad_address'")
    assert "bad_address" not in (await office.me.get(f"{path}/recipients")).text


async def test_how_long_it_takes_by_the_plan(office: Office) -> None:
    path = f"/deliveries/{(await office.ready())['id']}"
    assert "1 時間に" not in (await office.me.get(path)).text
    assert "今すぐ(5 分間は取り消し可能)" in (await office.me.get(path)).text
    await office.rules(hold_minutes=0)
    assert "今すぐ(取り消しはできません)" in (await office.me.get(path)).text
    await office.world.change(office.tenant, limits={"addresses": 1000, "mailsPerHour": 7})
    assert "2 通の送信には約 18 分かかります" in (await office.me.get(path)).text
    assert (await office.me.post(f"{path}/release", {"when": "now"})).status_code == 303
    assert "ご契約の上限は 1 時間に 7 通です" in (await office.me.get(path)).text


async def test_approval_by_somebody_else(office: Office) -> None:
    await office.rules(approval_required=True)
    made = await office.ready()
    path = f"/deliveries/{made['id']}"
    page = (await office.me.get(path)).text
    assert "別の担当者に確認と承認を依頼してください" in page
    assert f'action="{path}/approve"' not in page
    await office.foreign_author(made["id"])
    page = (await office.me.get(path)).text
    seen = re.search(r'name="content_sha256" value="([0-9a-f]{64})"', page)
    assert seen
    # Changed by its author between the reading and the press of the button.
    await office.sql("UPDATE delivery SET subject = 'x' WHERE id = $1", made["id"])
    refused = await office.me.post(f"{path}/approve", {"content_sha256": seen[1]})
    assert refused.status_code == 409
    back = await office.me.post(f"{path}/reject", {"reason": "宛名 <b>"})
    assert back.status_code == 303
    page = (await office.me.get(path)).text
    assert "宛名 &lt;b&gt;" in page
    assert "下書き" in page


async def test_errors_stand_at_their_fields_and_nothing_typed_is_lost(office: Office) -> None:
    wrong = await office.me.post(
        "/deliveries",
        form(office, from_address="evil@other.example", segment_id="999", subject="{{なに}}", name="残る名前"),
    )
    assert wrong.status_code == 422
    for text in (
        "このアドレスは送信元として許可されていません",
        "「なに」という項目はありません",
        "選択肢の中から選んでください",
        "残る名前",
    ):
        assert text in wrong.text
    made = await office.draft()
    stale = await office.me.post(f"/deliveries/{made['id']}", form(office, version="1", name="一"))
    assert stale.status_code == 303
    conflict = await office.me.post(f"/deliveries/{made['id']}", form(office, version="1", name="二"))
    assert conflict.status_code == 409
    assert "二" in conflict.text
    assert f'<a href="/deliveries/{made["id"]}" target="_blank"' in conflict.text
    path = f"/deliveries/{made['id']}"
    twice = await office.me.post(f"{path}/test", {"to": "a@a.example A@a.example"})
    assert (twice.status_code, 'id="to-error"' in twice.text) == (422, True)
    await office.me.post(f"{path}/request")
    no_time = await office.me.post(f"{path}/release", {"when": "at", "at": ""})
    assert no_time.status_code == 422
    assert '<a href="#at">日時</a>: 必須項目です' in no_time.text
    assert 'id="at-error"' in no_time.text
    await office.me.post(f"{path}/release", {"when": "now"})
    late = await office.me.post(path, form(office, version="2", name="長く書いたもの"))
    assert late.status_code == 409
    assert "長く書いたもの" in late.text


@pytest.mark.parametrize("field", ["name", "from_name", "subject", "reply_to", "from_address"])
@pytest.mark.parametrize("break_", ["\r\n", "\n", "\r", "\0", "\u2028", "\u0085"])
async def test_no_header_is_injected(office: Office, field: str, break_: str) -> None:
    value = f"a@b.example{break_}Bcc: victim@evil.example"
    answer = await office.me.api("POST", "/api/v1/deliveries", json={"name": "x", "category": "notice", field: value})
    assert answer.status_code == 422
    assert await office.sql("SELECT 1 FROM delivery") == []


async def test_scripts_in_every_text_stay_text(office: Office) -> None:
    await office.call("POST", "/addresses", 201, json={"name": SCRIPT, "emails": ["x@x.example"], "tags": ["客"]})
    person = (await office.call("GET", "/addresses?q=script"))["items"][0]["id"]
    made = await office.draft(
        name=SCRIPT, from_name=SCRIPT, subject=f"{SCRIPT} {{{{名前}}}}", text_body=SCRIPT, layout="html",
        source=f"<p>{{{{名前}}}}</p>{SCRIPT}",
    )  # fmt: skip
    path = f"/deliveries/{made['id']}"
    await office.call("POST", f"{path}/request")
    await office.call("POST", f"{path}/release", json={"when": "now"})
    await office.sql("UPDATE delivery_recipient SET reply = $1, state = 'refused'", f"550 {SCRIPT}")
    await office.sql("UPDATE delivery SET state_reason = $1", SCRIPT[:40])
    await office.sql("UPDATE delivery_event SET actor = $1", SCRIPT)
    paths = ("/deliveries", path, f"{path}/content?address={person}", f"{path}/content?q=script", f"{path}/audience",
             f"{path}/recipients", f"{path}/edit")  # fmt: skip
    for where in paths:
        page = await office.me.get(where)
        assert page.status_code == 200, where
        assert "<script" not in page.text, where
        assert "<img src=x" not in page.text, where
    frame = await office.me.get(f"{path}/content/frame?address={person}")
    assert "<script" not in frame.text
    assert "onerror=alert(1)>" not in frame.text.replace("onerror=alert(1)&gt;", "")
    assert "&lt;script&gt;" in frame.text
    assert frame.headers["content-security-policy"].startswith("sandbox;")


async def test_nothing_of_another_tenant(office: Office, world: World) -> None:
    made = await office.ready()
    stranger = await world.master(await world.tenant())
    path = f"/deliveries/{made['id']}"
    for page in ("", "/edit", "/content", "/content/frame", "/audience", "/recipients", "/recipients.csv"):
        assert (await stranger.get(f"{path}{page}")).status_code == 404, page
    for page in ("", "/preview", "/audience", "/recipients", "/history"):
        assert (await stranger.get(f"/api/v1{path}{page}")).status_code == 404, page
    body = {"release": {"when": "now"}, "approve": {"content_sha256": made["content_sha256"]}, "reject": {},
            "test": {"to": ["a@b.example"]}}  # fmt: skip
    for what in ("request", "approve", "reject", "release", "take-back", "pause", "resume", "cancel", "test"):
        answer = await stranger.api("POST", f"/api/v1{path}/{what}", json=body.get(what, {}))
        assert answer.status_code == 404, what
        assert (await stranger.post(f"{path}/{what}", {"to": "a@b.example", "when": "now"})).status_code == 404, what
    assert (await stranger.get("/api/v1/deliveries")).json() == {"items": [], "next": None}
    assert (await office.call("GET", path))["state"] == "approved"


async def plain_account(office: Office) -> Browser:
    """Somebody without any permission."""
    await office.sql(
        "INSERT INTO account (email, email_key, password_hash) "
        "SELECT 'plain@x.example', 'plain@x.example', password_hash FROM account WHERE is_master"
    )
    browser = office.world.browser(office.tenant.host)
    assert (await browser.post("/login", {"email": "plain@x.example", "password": PASSWORD})).status_code == 303
    return browser


async def test_without_permission_there_is_nothing(office: Office) -> None:
    made = await office.ready()
    plain = await plain_account(office)
    path = f"/deliveries/{made['id']}"
    token = (await plain.get("/api/v1/session")).json()["csrf_token"]
    assert "/deliveries" not in (await plain.get("/")).text
    for page in ("/deliveries", "/deliveries/new", path, f"{path}/edit", f"{path}/content", f"{path}/content/frame",
                 f"{path}/audience", f"{path}/recipients", f"{path}/recipients.csv", "/templates", "/templates/new",
                 "/settings/sender", "/settings/dkim", "/api/v1/deliveries", f"/api/v1{path}",
                 f"/api/v1{path}/recipients", f"/api/v1{path}/history", "/api/v1/templates", "/api/v1/images",
                 "/api/v1/settings/sender", "/api/v1/settings/dkim-keys"):  # fmt: skip
        assert (await plain.get(page)).status_code == 403, page
    for what in ("request", "approve", "reject", "release", "take-back", "pause", "resume", "cancel", "test"):
        body = {"when": "now"} if what == "release" else {"content_sha256": "0" * 64} if what == "approve" else {}
        body = {"to": ["a@b.example"]} if what == "test" else body
        answer = await plain.api("POST", f"/api/v1{path}/{what}", token=token, json=body)
        assert answer.status_code == 403, what
        assert (await plain.post(f"{path}/{what}")).status_code == 403, what
    assert (await office.call("GET", path))["state"] == "approved"


async def test_every_step_needs_the_token(office: Office) -> None:
    made = await office.ready()
    path = f"/deliveries/{made['id']}"
    assert read_token((await office.me.get(path)).text)
    for what in ("request", "release", "take-back", "pause", "resume", "cancel", "test", "approve", "reject"):
        bare = await office.me.client.post(
            f"{path}/{what}", data={"when": "now"}, headers={"Sec-Fetch-Site": "same-origin"}
        )
        assert bare.status_code == 403, what
        cross = await office.me.client.post(f"{path}/{what}", headers={"Sec-Fetch-Site": "cross-site"})
        assert cross.status_code == 403, what
        assert (await office.me.get(f"{path}/{what}")).status_code in (404, 405), what
    assert (await office.call("GET", path))["state"] == "approved"


async def test_only_whom_one_may_see_and_large_numbers(office: Office) -> None:
    for number in (0, -1, 2**63, "x", "1%00"):
        assert (await office.me.get(f"/deliveries/{number}")).status_code == 404, number
    for query in ("state=x", "before=0", "before=99999999999999999999"):
        assert (await office.me.get(f"/deliveries?{query}")).status_code in (200, 404), query
    made = await office.ready()
    for query in ("after=99999999999999999999", "state=%00", "q=%00", "q=" + "x" * 321):
        answer = await office.me.get(f"/deliveries/{made['id']}/recipients?{query}")
        assert answer.status_code in (200, 404), query


async def test_another_one_like_it_takes_the_words_along_and_nothing_else(office: Office) -> None:
    me = office.me
    made = await office.draft(name="夏の案内 " + "長" * 195, text_body="冷やし中華はじめました", count_clicks=True)
    path = f"/deliveries/{made['id']}"
    link = f"/deliveries/new?copy={made['id']}"
    assert f'href="{link}"' in (await me.get(path)).text
    shown = (await me.get(link)).text
    assert "冷やし中華はじめました" in shown
    assert "添付ファイルはコピーされません" not in shown, "there are none"
    assert re.search(r'id="count_clicks"[^>]* checked', shown)
    assert f'<option value="{office.segment}" selected>' in shown
    tag = re.search(r'<input[^>]* name="name"[^>]*>', shown)
    name = re.search(r'value="([^"]*)"', tag[0]) if tag else None
    assert name is not None
    assert (name[1][:5], len(name[1])) == ("夏の案内 ", 200)
    answer = await me.post("/deliveries", form(office, name=name[1], text_body="冷やし中華はじめました"))
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"].partition("?")[0] != path
    assert (await me.get("/deliveries/new?copy=999999")).status_code == 404
