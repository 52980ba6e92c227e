"""Who gets a delivery: consent, suppression, labels, own fields, and what became of earlier deliveries."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from elink_app.accounts.permissions import ALL, Principal
from elink_app.addresses.visibility import Action
from elink_app.clock import utc_now
from elink_app.deliveries.audience import Audience
from elink_app.deliveries.models import Delivery
from elink_app.deliveries.repository import DeliveryRepository
from elink_app.deliveries.service import Deliveries
from elink_app.templates.service import Templates
from elink_app.worker.housekeeping import Housekeeper

from tests.tenant_app.deliveries.support import Office

pytestmark = pytest.mark.postgres

GIVEN = "INSERT INTO consent (email_key, kind, at) VALUES ($1, $2, now() + $3 * interval '1 second')"


async def counted(office: Office, **changes: Any) -> tuple[int, dict[str, int]]:
    made = await office.draft(**changes)
    found = await office.call("GET", f"/deliveries/{made['id']}/audience")
    return found["recipients"], found["left_out"]


async def test_adverts_go_only_where_consent_counts_now(office: Office) -> None:
    others = {"duplicate": 1, "no_email": 1}
    assert await counted(office, category="advert") == (0, {"no_consent": 3, "no_email": 1})
    await office.sql(GIVEN, "taro@a.example", "given", -3)
    await office.sql(GIVEN, "hanako@b.example", "given", -3)
    assert await counted(office, category="advert") == (2, others)
    await office.sql(GIVEN, "hanako@b.example", "withdrawn", -2)
    assert await counted(office, category="advert") == (1, {"no_consent": 2, "no_email": 1})
    await office.sql(GIVEN, "hanako@b.example", "given", -1)
    assert await counted(office, category="advert") == (2, others)
    assert await counted(office) == (2, others)


async def test_suppression_holds_for_every_kind_until_it_is_lifted(office: Office) -> None:
    await office.sql("INSERT INTO suppression (email_key, reason) VALUES ('taro@a.example', 'bounced')")
    assert await counted(office) == (1, {"duplicate": 1, "no_email": 1, "suppressed": 1})
    await office.sql("UPDATE suppression SET lifted_at = now()")
    assert await counted(office) == (2, {"duplicate": 1, "no_email": 1})


async def test_what_is_frozen_is_what_was_counted(office: Office) -> None:
    await office.sql(GIVEN, "taro@a.example", "given", -3)
    made = await office.ready(category="advert")
    await office.call("POST", f"/deliveries/{made['id']}/release", json={"when": "now"})
    rows = await office.sql("SELECT email FROM delivery_recipient")
    assert [row["email"] for row in rows] == ["taro@a.example"]


async def test_own_fields_are_frozen_as_they_are_shown(office: Office) -> None:
    add = "INSERT INTO attribute (key, label, type) VALUES ($1, $2, $3)"
    for key, label, kind in (("no", "会員番号", "number"), ("vip", "優待", "yes_no"), ("x", "会社", "text")):
        await office.sql(add, key, label, kind)
    own = json.dumps({"no": 5e-05, "vip": True, "x": "?"})
    await office.sql("UPDATE address SET attributes = $1::jsonb WHERE name = '山田 太郎'", own)
    text = "{{会員番号|なし}}/{{優待|不明}}/{{会社|御社}}"
    made = await office.ready(text_body=text)
    person = (await office.sql("SELECT id FROM address WHERE name = '山田 太郎'"))[0]["id"]
    shown = await office.call("GET", f"/deliveries/{made['id']}/preview?address={person}")
    assert shown["text"] == "0.00005/はい/山田商店"
    await office.call("POST", f"/deliveries/{made['id']}/release", json={"when": "now"})
    fields = (await office.sql("SELECT fields FROM delivery WHERE id = $1", made["id"]))[0]["fields"]
    rows = await office.sql("SELECT email, slots FROM delivery_recipient")
    slots = {row["email"]: dict(zip(fields, json.loads(row["slots"]), strict=True)) for row in rows}
    assert {name: slots["taro@a.example"][name] for name in ("会員番号", "優待", "会社")} == {
        "会員番号": "0.00005", "優待": "はい", "会社": "山田商店",
    }  # fmt: skip
    assert {slots["hanako@b.example"][name] for name in ("会員番号", "優待", "会社")} == {""}


async def test_a_field_that_is_gone_is_named_at_the_next_save(office: Office) -> None:
    await office.sql("INSERT INTO attribute (key, label, type) VALUES ('no', '会員番号', 'number')")
    made = await office.draft(text_body="{{会員番号|なし}}")
    await office.sql("UPDATE attribute SET deleted_at = now()")
    refused = await office.call("POST", f"/deliveries/{made['id']}/request", 422)
    assert refused["errors"][0]["code"] == "placeholder_unknown"


async def test_past_deliveries_as_a_condition(office: Office) -> None:
    made = await office.ready()
    await office.call("POST", f"/deliveries/{made['id']}/release", json={"when": "now"})
    await office.sql("UPDATE delivery_recipient SET state = 'accepted' WHERE email = 'taro@a.example'")
    await office.sql("UPDATE delivery_recipient SET state = 'refused' WHERE email = 'hanako@b.example'")
    names = {}
    for outcome in ("sent", "accepted", "bounced", "not_sent"):
        tree = {"kind": "all", "of": [{"kind": "delivery", "delivery_id": made["id"], "outcome": outcome}]}
        segment = await office.new_segment(outcome, tree)
        draft = await office.draft(segment_id=segment)
        names[outcome] = await office.call("GET", f"/deliveries/{draft['id']}/audience")
    assert names["sent"]["recipients"] == names["accepted"]["recipients"] == 1
    # 佐藤 花子 and 佐藤 はな have the same e-mail: one mail to it, and it was refused.
    assert (names["bounced"]["recipients"], names["bounced"]["left_out"]) == (1, {"duplicate": 1})
    assert names["not_sent"]["recipients"] == 2
    assert names["not_sent"]["left_out"] == {"duplicate": 1, "no_email": 1}


async def test_labels_hide_people_and_forbid_sending(office: Office) -> None:
    """As somebody with the role 7: may see the addresses of one label, may not send to them; the other is not there."""
    for name, label in (("山田 太郎", "社外秘"), ("佐藤 花子", "極秘")):
        tag = (await office.sql("INSERT INTO tag (name, key, is_label) VALUES ($1, $1, true) RETURNING id", label))[0]
        await office.sql("INSERT INTO address_tag SELECT id, $2 FROM address WHERE name = $1", name, tag["id"])
        if label == "社外秘":
            await office.sql("INSERT INTO role (id, name, permissions) VALUES (7, '営業', '{}') ON CONFLICT DO NOTHING")
            await office.sql("INSERT INTO label_right (tag_id, role_id, action) VALUES ($1, 7, 'see')", tag["id"])
    made = await office.ready()
    clerk = Principal(99, "clerk@x.example", "", False, ALL, None, frozenset({7}))
    tenant = office.world.parts.directory.get(office.tenant.name)
    assert tenant is not None
    async with office.world.parts.databases.transaction(tenant) as db:
        row = await db.get(Delivery, made["id"])
        assert row is not None
        found = await Audience(db, clerk, utc_now).count(row)
        assert (found.recipients, found.left_out) == (1, {"label": 1, "no_email": 1})
        assert {one.name for one in found.examples} == {"山田 太郎", "鈴木 一郎"}
        assert await Audience(db, clerk, utc_now).freeze(row, utc_now()) == 1
    rows = await office.sql("SELECT email FROM delivery_recipient")
    assert [one["email"].lower() for one in rows] == ["hanako@b.example"]
    assert await counted(office) == (2, {"duplicate": 1, "no_email": 1})


async def test_labels_hide_recipients_of_old_deliveries(office: Office) -> None:
    made = await office.ready()
    await office.call("POST", f"/deliveries/{made['id']}/release", json={"when": "now"})
    tag = (await office.sql("INSERT INTO tag (name, key, is_label) VALUES ('秘', '秘', true) RETURNING id"))[0]["id"]
    await office.sql("INSERT INTO address_tag SELECT id, $1 FROM address WHERE name = '山田 太郎'", tag)
    tenant = office.world.parts.directory.get(office.tenant.name)
    assert tenant is not None
    clerk = Principal(99, "clerk@x.example", "", False, ALL, None)
    async with office.world.parts.databases.transaction(tenant) as db:
        seen = await DeliveryRepository(db).recipients(
            made["id"], state="", email="", after=0, size=10, visible=Audience(db, clerk, utc_now).visible_recipients()
        )
    assert [row.email for row in seen] == ["hanako@b.example"]
    assert len((await office.call("GET", f"/deliveries/{made['id']}/recipients"))["items"]) == 2


async def test_recipients_stay_hidden_when_their_addresses_are_gone(office: Office) -> None:
    made = await office.ready()
    await office.call("POST", f"/deliveries/{made['id']}/release", json={"when": "now"})
    tag = (await office.sql("INSERT INTO tag (name, key, is_label) VALUES ('秘', '秘', true) RETURNING id"))[0]["id"]
    await office.sql("INSERT INTO address_tag SELECT id, $1 FROM address WHERE name = '山田 太郎'", tag)
    await office.sql("DELETE FROM address WHERE name = '山田 太郎'")
    tenant = office.world.parts.directory.get(office.tenant.name)
    assert tenant is not None

    async def seen(principal: Principal, action: Action) -> list[str]:
        async with office.world.parts.databases.transaction(tenant) as db:
            rows = await DeliveryRepository(db).recipients(
                made["id"], state="", email="", after=0, size=10,
                visible=Audience(db, principal, utc_now).visible_recipients(action),
            )  # fmt: skip
        return sorted(row.email for row in rows)

    clerk = Principal(99, "clerk@x.example", "", False, ALL, None, frozenset({7}))
    master = Principal(98, "master@x.example", "", True, ALL, None)
    for action in Action:
        assert await seen(clerk, action) == ["hanako@b.example"]
        assert await seen(master, action) == ["hanako@b.example", "taro@a.example"]
    assert (await told(office, clerk, made["id"]))[0] == 1
    # Whom no label keeps from seeing sees what is left of anybody; from exporting one still keeps them.
    await office.sql("INSERT INTO role (id, name, permissions) VALUES (7, 'r', '{}')")
    await office.sql("INSERT INTO label_right (tag_id, role_id, action) VALUES ($1, 7, 'see')", tag)
    assert await seen(clerk, Action.SEE) == ["hanako@b.example", "taro@a.example"]
    assert await seen(clerk, Action.EXPORT) == ["hanako@b.example"]
    assert (await told(office, clerk, made["id"]))[0] == 2


async def test_results_of_merged_addresses_go_over_to_the_one_that_is_kept(office: Office) -> None:
    made = await office.ready()
    await office.call("POST", f"/deliveries/{made['id']}/release", json={"when": "now"})
    rows = await office.sql(
        "SELECT address_id FROM delivery_recipient WHERE delivery_id = $1 ORDER BY email", made["id"]
    )
    first, gone = [row["address_id"] for row in rows]
    last = (await office.call("POST", "/addresses", 201, json={"name": "残る 人"}))["id"]
    label = (await office.sql("INSERT INTO tag (name, key, is_label) VALUES ('秘', '秘', true) RETURNING id"))[0]["id"]
    clerk = Principal(99, "clerk@x.example", "", False, ALL, None, frozenset({7}))
    known = office.world.parts.directory.get(office.tenant.name)
    assert known is not None
    parts = office.world.parts

    async def erased_after(days: int) -> int:
        await office.sql(f"UPDATE address SET deleted_at = deleted_at - interval '{days} days'")
        await office.sql(f"UPDATE address_merge SET at = at - interval '{days} days'")
        keeper = Housekeeper(parts.databases, parts.metrics, utc_now, parts.session_policy, timedelta(days=7))
        await keeper.clean(known)
        return (await told(office, clerk, made["id"]))[0]

    # Undone, then deleted by itself: nobody inherits.
    undone = await office.call("POST", "/duplicates/merge", json={"keep": last, "merge": [first]})
    await office.call("POST", f"/duplicates/merges/{undone['id']}/undo")
    await office.call("DELETE", f"/addresses/{first}", 204)
    # One, whose e-mail has changed since, into another, which goes into the last.
    moved = "UPDATE address_email SET email = 'new@c.example', email_key = 'new@c.example' WHERE address_id = $1"
    await office.sql(moved, gone)
    middle = (await office.call("POST", "/addresses", 201, json={"name": "中の 人"}))["id"]
    await office.call("POST", "/duplicates/merge", json={"keep": middle, "merge": [gone]})
    await office.call("POST", "/duplicates/merge", json={"keep": last, "merge": [middle]})
    assert await erased_after(6) == 2
    assert await erased_after(2) == 1
    assert {row["id"] for row in await office.sql("SELECT id FROM address")}.isdisjoint({first, middle, gone})
    assert [row["address_id"] for row in await office.sql(
        "SELECT address_id FROM delivery_recipient WHERE delivery_id = $1 ORDER BY email", made["id"]
    )] == [first, last]  # fmt: skip
    # A label of the kept one hides them as it hides all else of that person.
    await office.sql("INSERT INTO address_tag VALUES ($1, $2)", last, label)
    assert (await told(office, clerk, made["id"]))[0] == 0


async def test_counts_and_history_tell_nothing_of_recipients_whom_labels_hide(office: Office) -> None:
    made = await office.ready()
    await office.call("POST", f"/deliveries/{made['id']}/release", json={"when": "now"})
    await office.sql("UPDATE delivery_recipient SET state = 'accepted', next_at = NULL WHERE email LIKE 'hanako%'")
    await office.sql("UPDATE delivery SET accepted = 1")
    clerk = Principal(99, "clerk@x.example", "", False, ALL, None)
    assert await told(office, clerk, made["id"]) == (2, 1, 1, True)
    tag = (await office.sql("INSERT INTO tag (name, key, is_label) VALUES ('秘', '秘', true) RETURNING id"))[0]["id"]
    await office.sql("INSERT INTO address_tag SELECT id, $1 FROM address WHERE name = '山田 太郎'", tag)
    assert await told(office, clerk, made["id"]) == (1, 0, 1, False)
    master = Principal(98, "master@x.example", "", True, ALL, None)
    assert await told(office, master, made["id"]) == (2, 1, 1, True)


async def told(office: Office, principal: Principal, delivery_id: int) -> tuple[int, int, int, bool]:
    """Total, pending and accepted, the same on the list and by itself; and whether the history names a number."""
    tenant = office.world.parts.directory.get(office.tenant.name)
    assert tenant is not None
    async with office.world.parts.databases.transaction(tenant) as db:
        templates = Templates(db, tenant, utc_now, "https://x.example")
        deliveries = Deliveries(db, utc_now, "https://x.example", principal, templates)
        one = (await deliveries.get(delivery_id)).counts
        (listed,) = (await deliveries.page()).items
        named = any("recipients" in (event.detail or {}) for event in await deliveries.history(delivery_id))
    assert listed.counts == one
    return one.total, one.pending, one.accepted, named
