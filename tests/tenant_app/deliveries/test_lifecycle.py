"""A delivery from its first word to its end, by the API: who may do what, and what is refused."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from elink_app.clock import JST
from elink_app.deliveries import mail_limit

from tests.tenant_app.deliveries.support import SENDER, Office
from tests.tenant_app.people.support import member
from tests.tenant_app.support import eventually
from tests.tenant_app.worker.deliveries import CountingRelay, make_delivery, open_office, relaying, states

pytestmark = pytest.mark.postgres


def codes(answer: Any) -> set[tuple[str, str]]:
    return {(wrong["pointer"], wrong["code"]) for wrong in answer["errors"]}


async def test_count_names_everybody_who_is_left_out(office: Office) -> None:
    made = await office.draft()
    counted = await office.call("GET", f"/deliveries/{made['id']}/audience")
    assert counted["recipients"] == 2
    assert counted["left_out"] == {"duplicate": 1, "no_email": 1}
    assert {(row["name"], row["reason"]) for row in counted["examples"]} == {
        ("佐藤 はな", "duplicate"), ("鈴木 一郎", "no_email"),
    }  # fmt: skip


async def test_release_freezes_audience_and_values(office: Office) -> None:
    made = await office.ready()
    assert made["state"] == "approved"
    sent = await office.call("POST", f"/deliveries/{made['id']}/release", json={"when": "now"})
    assert sent["state"] == "holding"
    assert sent["counts"]["total"] == sent["counts"]["pending"] == 2
    hold = datetime.fromisoformat(sent["hold_until"]) - datetime.now(tz=UTC)
    assert timedelta(minutes=4) < hold <= timedelta(minutes=5)
    fields = (await office.sql("SELECT fields FROM delivery WHERE id = $1", made["id"]))[0]["fields"]
    rows = await office.sql("SELECT email, slots, state, next_at FROM delivery_recipient ORDER BY id")
    slots = {row["email"]: dict(zip(fields, json.loads(row["slots"]), strict=True)) for row in rows}
    assert slots == {
        "taro@a.example": {"名前": "山田 太郎", "会社": "山田商店"},
        "hanako@b.example": {"名前": "佐藤 花子", "会社": ""},
    }
    assert all(row["state"] == "queued" and row["next_at"] is not None for row in rows)
    wakeup = await office.world.server.postgres.connect("elink_registry")
    try:
        assert await wakeup.fetchval("SELECT count(*) FROM delivery_wakeup WHERE tenant = $1", office.tenant.name) == 1
    finally:
        await wakeup.close()


async def test_take_back_and_release_again(office: Office) -> None:
    made = await office.ready()
    path = f"/deliveries/{made['id']}"
    await office.call("POST", f"{path}/release", json={"when": "now"})
    back = await office.call("POST", f"{path}/take-back", json={})
    assert (back["state"], back["counts"]["total"]) == ("approved", 0)
    assert await office.sql("SELECT 1 FROM delivery_recipient") == []
    await office.call("POST", f"{path}/take-back", 409, json={})
    moment = (datetime.now(JST) + timedelta(days=1)).replace(microsecond=0)
    local = moment.replace(tzinfo=None).isoformat()
    again = await office.call("POST", f"{path}/release", json={"when": "at", "at": local})
    assert again["state"] == "scheduled"
    assert again["scheduled_at"] == f"{local}+09:00"


async def test_moments_that_are_refused(office: Office) -> None:
    made = await office.ready()
    path = f"/deliveries/{made['id']}/release"
    for at in ({}, {"at": "2020-01-01T00:00:00"}, {"at": "2099-01-01T00:00"}):
        await office.call("POST", path, 422, json={"when": "at", **at})
    assert await office.sql("SELECT 1 FROM delivery_recipient") == []
    business = await office.call("POST", path, json={"when": "business_day"})
    assert business["scheduled_at"].endswith("T09:00:00+09:00")


async def test_a_large_audience_has_to_be_typed(office: Office) -> None:
    await office.rules(type_count_above=1)
    made = await office.ready()
    path = f"/deliveries/{made['id']}/release"
    for typed in ({}, {"typed_count": 3}, {"typed_count": 1}):
        answer = await office.call("POST", path, 422, json={"when": "now", **typed})
        assert codes(answer) == {("/typed_count", "typed_count")}
    assert await office.sql("SELECT 1 FROM delivery_recipient") == []
    await office.call("POST", path, json={"when": "now", "typed_count": 2})


async def test_pause_resume_cancel(office: Office) -> None:
    made = await office.ready()
    path = f"/deliveries/{made['id']}"
    await office.call("POST", f"{path}/pause", 409, json={})
    await office.call("POST", f"{path}/release", json={"when": "now"})
    assert (await office.call("POST", f"{path}/pause", json={}))["state"] == "paused"
    assert (await office.call("POST", f"{path}/resume", json={}))["state"] == "sending"
    ended = await office.call("POST", f"{path}/cancel", json={})
    assert ended["state"] == "cancelled"
    assert ended["finished_at"] is not None
    assert ended["counts"]["skipped"] == 2
    assert ended["counts"]["pending"] == 0
    for what in ("resume", "pause", "cancel", "take-back", "request"):
        await office.call("POST", f"{path}/{what}", 409, json={})
    await office.call("PUT", path, 409, json={"name": "x", "category": "notice"})
    actions = [event["action"] for event in await office.call("GET", f"{path}/history")]
    assert actions == ["cancelled", "resumed", "paused", "released", "requested", "made"]
    audited = await office.sql("SELECT action FROM audit_entry WHERE kind = 'delivery' ORDER BY number DESC")
    assert [row["action"] for row in audited] == [f"delivery.{action}" for action in actions]


async def test_what_a_worker_has_in_hand_at_the_cancellation_comes_to_an_end_too(office: Office) -> None:
    async with relaying(CountingRelay(delay=0.02)) as relay:
        worker = await open_office(office.world, relay)
        worker.tenant = office.tenant
        async with worker.inside() as inside:
            delivery = await make_delivery(inside, 400)
            await inside.execute("INSERT INTO delivery_draft (delivery_id) VALUES ($1)", delivery)
            sending = asyncio.create_task(worker.send())
            await eventually(lambda: relay.accepted.total() > 20)
            asked = await office.call("POST", f"/deliveries/{delivery}/cancel")
            assert asked["finished_at"] is None, "mails are in the worker's hands"
            await sending
            await worker.send()
            sent = relay.accepted.total()
            assert await states(inside, delivery) == {"accepted": sent, "skipped": 400 - sent}
            ended = await office.call("GET", f"/deliveries/{delivery}")
            assert (ended["counts"]["pending"], ended["counts"]["skipped"]) == (0, 400 - sent)
            assert ended["finished_at"] is not None


async def test_who_goes_on_before_the_moment_of_the_order_does_not_send_early(office: Office) -> None:
    made = await office.ready()
    path = f"/deliveries/{made['id']}"
    moment = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    await office.call("POST", f"{path}/release", json={"when": "at", "at": moment})
    await office.call("POST", f"{path}/pause", json={})
    gone_on = await office.call("POST", f"{path}/resume", json={})
    assert gone_on["state"] == "scheduled"
    assert datetime.fromisoformat(gone_on["scheduled_at"]) == datetime.fromisoformat(moment)
    await office.call("POST", f"{path}/pause", json={})
    await office.sql("UPDATE delivery SET scheduled_at = now() - interval '1 minute'")
    gone_on = await office.call("POST", f"{path}/resume", json={})
    assert gone_on["state"] == "sending"
    assert gone_on["started_at"] is not None, "what is put off for two days is given up, counted from here"


async def test_approval_is_by_somebody_else_and_of_what_was_seen(office: Office) -> None:
    await office.rules(approval_required=True)
    made = await office.ready()
    path = f"/deliveries/{made['id']}"
    assert made["state"] == "awaiting_approval"
    seen = {"content_sha256": made["content_sha256"]}
    await office.call("POST", f"{path}/release", 409, json={"when": "now"})
    own = await office.call("POST", f"{path}/approve", 403, json=seen)
    assert own["type"].endswith("/own-approval")
    await office.foreign_author(made["id"])
    await office.call("POST", f"{path}/approve", 409, json={"content_sha256": "0" * 64})
    await office.sql("UPDATE delivery SET text_body = 'another' WHERE id = $1", made["id"])
    changed = await office.call("POST", f"{path}/approve", 409, json=seen)
    assert changed["type"].endswith("/content-changed")
    await office.sql("UPDATE delivery SET text_body = '{{会社|御社}} {{名前}} 様\n本文' WHERE id = $1", made["id"])
    approved = await office.call("POST", f"{path}/approve", json=seen)
    assert approved["state"] == "approved"
    assert approved["approved_by"] == office.tenant.master_email


async def test_a_change_after_approval_takes_it_back(office: Office) -> None:
    await office.rules(approval_required=True)
    made = await office.ready()
    path = f"/deliveries/{made['id']}"
    await office.foreign_author(made["id"])
    approved = await office.call("POST", f"{path}/approve", json={"content_sha256": made["content_sha256"]})
    body = {"name": "お知らせ", "category": "notice", "from_address": SENDER, "segment_id": office.segment,
            "subject": "別の件名", "text_body": "x", "version": approved["version"]}  # fmt: skip
    saved = await office.call("PUT", path, json=body)
    assert (saved["state"], saved["approved_by"], saved["content_sha256"]) == ("draft", "", "")
    await office.call("POST", f"{path}/release", 409, json={"when": "now"})
    # The approver of before is an author now.
    again = await office.call("POST", f"{path}/request")
    await office.call("POST", f"{path}/approve", 403, json={"content_sha256": again["content_sha256"]})
    await office.call("PUT", path, 409, json=body)


async def test_content_changed_behind_our_back_is_not_released(office: Office) -> None:
    made = await office.ready()
    await office.sql("UPDATE delivery SET subject = 'x' WHERE id = $1", made["id"])
    await office.call("POST", f"/deliveries/{made['id']}/release", 409, json={"when": "now"})
    assert await office.sql("SELECT 1 FROM delivery_recipient") == []


async def test_parallel_orders_release_once(office: Office) -> None:
    made = await office.ready()
    token = (await office.me.get("/api/v1/session")).json()["csrf_token"]

    async def release() -> int:
        path = f"/api/v1/deliveries/{made['id']}/release"
        return (await office.me.api("POST", path, token=token, json={"when": "now"})).status_code

    assert sorted(await asyncio.gather(*(release() for _ in range(4)))) == [200, 409, 409, 409]
    assert len(await office.sql("SELECT 1 FROM delivery_recipient")) == 2


async def test_parallel_approval_and_change_never_release_what_was_not_approved(office: Office) -> None:
    await office.rules(approval_required=True)
    made = await office.ready()
    await office.foreign_author(made["id"])
    token = (await office.me.get("/api/v1/session")).json()["csrf_token"]
    path = f"/api/v1/deliveries/{made['id']}"
    change = {"name": "n", "category": "notice", "from_address": SENDER, "segment_id": office.segment, "subject": "新",
              "text_body": "新"}  # fmt: skip
    seen = {"content_sha256": made["content_sha256"]}
    await asyncio.gather(
        *(office.me.api("POST", f"{path}/approve", token=token, json=seen) for _ in range(3)),
        office.me.api("PUT", path, token=token, json=change),
    )
    found = await office.call("GET", f"/deliveries/{made['id']}")
    assert found["state"] == "draft"
    assert found["subject"] == "新"
    approvals = [e for e in await office.call("GET", f"/deliveries/{made['id']}/history") if e["action"] == "approved"]
    assert len(approvals) <= 1


async def test_what_is_missing_is_named_before_approval(office: Office) -> None:
    await office.rules(organisation="")
    made = await office.draft(category="advert", subject="", text_body="", from_address="", segment_id=None)
    answer = await office.call("POST", f"/deliveries/{made['id']}/request", 422)
    assert codes(answer) == {
        ("/subject", "required"), ("/from_address", "required"), ("/text_body", "required"),
        ("/segment_id", "segment_missing"), ("/category", "imprint_incomplete"),
    }  # fmt: skip


async def test_adverts_bear_the_footer_and_need_consent(office: Office) -> None:
    made = await office.ready(category="advert", layout="html", source="<p>{{名前}}</p>", text_body="")
    shown = await office.call("GET", f"/deliveries/{made['id']}/preview")
    for part in (shown["text"], shown["html"]):
        assert "株式会社さくら商店" in part
        assert "東京都千代田区1-1" in part
        assert "info@sakura.example" in part
        assert "/unsubscribe/example" in part
    refused = await office.call("POST", f"/deliveries/{made['id']}/release", 422, json={"when": "now"})
    assert codes(refused) == {("/segment_id", "nobody_left")}
    assert (await office.call("GET", f"/deliveries/{made['id']}/audience"))["left_out"]["no_consent"] == 3


async def test_a_sender_that_is_no_longer_allowed(office: Office) -> None:
    made = await office.ready()
    for row in await office.call("GET", "/settings/sender-addresses"):
        await office.call("DELETE", f"/settings/sender-addresses/{row['id']}", 204)
    refused = await office.call("POST", f"/deliveries/{made['id']}/release", 422, json={"when": "now"})
    assert codes(refused) == {("/from_address", "sender_not_allowed")}


async def test_mails_to_test_with(office: Office) -> None:
    made = await office.draft()
    path = f"/deliveries/{made['id']}/test"
    await office.call("POST", path, 202, json={"to": ["a@x.example", "b@x.example"]})
    rows = await office.sql("SELECT recipient, subject, text_body, kind FROM outbox_mail ORDER BY id")
    assert [row["recipient"] for row in rows] == ["a@x.example", "b@x.example"]
    assert rows[0]["subject"] == "[テスト] 山田 太郎 様へ"
    assert rows[0]["text_body"].startswith("株式会社やまだ商店 山田 太郎 様")
    for to in (
        [],
        [f"{n}@x.example" for n in range(6)],
        ["x"],
        ["a@x.example\r\nBcc: b@x.example"],
        ["a@b.example"] * 2,
    ):
        await office.call("POST", path, 422, json={"to": to})


async def test_test_mails_are_held_back(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail_limit, "PER_ACCOUNT", 2)
    made = await office.draft()
    path = f"/deliveries/{made['id']}/test"
    for _ in range(2):
        await office.call("POST", path, 202, json={"to": ["a@x.example"]})
    refused = await office.me.api("POST", f"/api/v1{path}", json={"to": ["a@x.example"]})
    assert refused.status_code == 429
    assert refused.json()["type"].endswith("/too-many-test-mails")
    assert refused.headers["retry-after"] == "3600"
    page = await office.me.post(path, {"to": "a@x.example"})
    assert page.status_code == 429
    assert len(await office.sql("SELECT 1 FROM outbox_mail")) == 2
    # After an hour without one there may be more; the address counts for all accounts together.
    await office.sql("UPDATE login_throttle SET last_attempt_at = last_attempt_at - interval '61 minutes'")
    await office.call("POST", path, 202, json={"to": ["a@x.example"]})
    monkeypatch.setattr(mail_limit, "PER_ADDRESS", 1)
    await office.call("POST", path, 429, json={"to": ["a@x.example"]})


async def test_recipients_are_paged_filtered_and_exported(office: Office) -> None:
    made = await office.ready()
    path = f"/deliveries/{made['id']}"
    await office.call("POST", f"{path}/release", json={"when": "now"})
    await office.sql(
        "UPDATE delivery_recipient SET state='refused', reply='=cmd|''/c calc''!A1' WHERE email LIKE 'taro%'"
    )
    first = await office.call("GET", f"{path}/recipients?size=1")
    second = await office.call("GET", f"{path}/recipients?size=1&after={first['next']}")
    assert [row["email"] for page in (first, second) for row in page["items"]] == ["taro@a.example", "hanako@b.example"]
    assert second["next"] is None
    refused = await office.call("GET", f"{path}/recipients?state=refused")
    assert [row["email"] for row in refused["items"]] == ["taro@a.example"]
    found = await office.call("GET", f"{path}/recipients?q=HANAKO")
    assert [row["email"] for row in found["items"]] == ["hanako@b.example"]
    assert (await office.call("GET", f"{path}/recipients?q=%25"))["items"] == []
    table = await office.me.get(f"{path}/recipients.csv")
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    lines = table.content.decode("utf-8-sig").split("\r\n")
    assert lines[0] == "email,state,attempts,updated_at,reply"
    assert lines[1].endswith("'=cmd|'/c calc'!A1")
    assert len(lines) == 4


async def test_unknown_ones_are_sent_again_by_hand_only(office: Office) -> None:
    made = await office.ready()
    path = f"/deliveries/{made['id']}"
    await office.call("POST", f"{path}/release", json={"when": "now"})
    again = f"{path}/resend-unknown"
    await office.call("POST", again, 409, json={"typed_count": 2})
    rows = await office.sql("SELECT id, email FROM delivery_recipient ORDER BY id")
    await office.sql("UPDATE delivery_recipient SET state = 'unknown', next_at = NULL")
    await office.sql("UPDATE delivery SET state = 'done', unknown = total, finished_at = now(), hold_until = NULL")
    count = len(rows)
    for wrong in (count - 1, count + 1):
        refused = await office.call("POST", again, 422, json={"typed_count": wrong})
        assert refused["errors"][0]["code"] == "typed_count" if "errors" in refused else True
    for body in ({}, {"typed_count": None}, {"typed_count": 0}):
        await office.call("POST", again, 422, json=body)
    page = (await office.me.get(path)).text
    assert "同じメールが二度届く方がいるかもしれません" in page
    wrong_form = await office.me.post(again, {"typed_count": "x"})
    assert wrong_form.status_code == 422
    assert (await office.sql("SELECT state FROM delivery"))[0]["state"] == "done"
    # In full-width digits, as people type them.
    done = await office.me.post(again, {"typed_count": str(count).translate({48 + n: 0xFF10 + n for n in range(10)})})
    assert done.status_code == 303
    delivery = (await office.sql("SELECT state, unknown, finished_at FROM delivery"))[0]
    assert tuple(delivery) == ("sending", 0, None)
    queued = await office.sql("SELECT id, state, next_at IS NOT NULL AS due FROM delivery_recipient ORDER BY id")
    assert [tuple(row) for row in queued] == [(row["id"], "queued", True) for row in rows]
    assert (await office.call("GET", f"{path}/history"))[0]["action"] == "resent_unknown"
    lines = await office.sql("SELECT after::text FROM audit_entry WHERE action = 'delivery.resent_unknown'")
    assert f'"recipients": {count}' in lines[0]["after"]
    # It goes on as any other: nothing is unknown any more, so there is nothing to be sent again.
    await office.call("POST", again, 409, json={"typed_count": count})
    assert "二度届く" not in (await office.me.get(path)).text


async def test_who_may_not_send_to_somebody_does_not_send_again(office: Office) -> None:
    made = await office.ready()
    await office.call("POST", f"/deliveries/{made['id']}/release", json={"when": "now"})
    await office.sql("UPDATE delivery_recipient SET state = 'unknown', next_at = NULL")
    await office.sql("UPDATE delivery SET state = 'done', unknown = total, finished_at = now()")
    viewer, _, _ = await member(office.world, office.tenant, office.me, "addresses:view", "deliveries:draft")
    path = f"/api/v1/deliveries/{made['id']}/resend-unknown"
    assert (await viewer.api("POST", path, json={"typed_count": 2})).status_code == 403
    sender, _, _ = await member(office.world, office.tenant, office.me, "addresses:view", "deliveries:send")
    await office.sql(
        "WITH secret AS (INSERT INTO tag (name, key, is_label) VALUES ('極秘', '極秘', true) RETURNING id) "
        "INSERT INTO address_tag SELECT (SELECT address_id FROM delivery_recipient ORDER BY id LIMIT 1), id FROM secret"
    )
    assert (await sender.api("POST", path, json={"typed_count": 2})).status_code == 422
    assert (await sender.api("POST", path, json={"typed_count": 1})).status_code == 200
    states = await office.sql("SELECT state FROM delivery_recipient ORDER BY id")
    assert [row["state"] for row in states] == ["unknown", "queued"]
    assert (await office.sql("SELECT unknown FROM delivery"))[0]["unknown"] == 1
