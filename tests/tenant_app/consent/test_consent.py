"""The ledger and the suppression list: what they say, that they outlive the address, and who may touch them."""

from __future__ import annotations

from typing import Any

import pytest
from elink_operator.database.model import TenantDb

from tests.tenant_app.support import Browser, World

pytestmark = pytest.mark.postgres

TARO = "taro@example.co.jp"


@pytest.fixture
async def tenant(world: World) -> TenantDb:
    return await world.tenant()


@pytest.fixture
async def me(world: World, tenant: TenantDb) -> Browser:
    return await world.master(tenant)


async def consent(me: Browser, *, given: bool = True, email: str = TARO, **more: Any) -> Any:
    return await me.api("POST", "/api/v1/consents", json={"email": email, "given": given, "how": "電話", **more})


async def state(me: Browser, email: str = TARO) -> dict[str, Any]:
    answer = await me.get("/api/v1/consents", params={"email": email})
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


async def test_the_newest_word_counts_and_the_history_stays(me: Browser) -> None:
    assert (await state(me))["consent"] is None
    assert (await consent(me, wording="お知らせを受け取ります")).status_code == 201
    assert (await state(me))["consent"] is True
    assert (await consent(me, given=False)).status_code == 201
    found = await state(me, TARO.upper())
    assert found["consent"] is False
    assert [entry["given"] for entry in found["history"]] == [False, True]
    assert found["history"][1]["wording"] == "お知らせを受け取ります"
    assert found["history"][0]["occurred_at"].endswith("+09:00")


async def test_the_record_survives_deletion_of_the_address(me: Browser) -> None:
    made = (await me.api("POST", "/api/v1/addresses", json={"name": "太郎", "emails": [TARO]})).json()
    await consent(me, given=False)
    await me.api("POST", "/api/v1/suppressions", json={"email": TARO})
    assert (await me.api("DELETE", f"/api/v1/addresses/{made['id']}")).status_code == 204
    again = (await me.api("POST", "/api/v1/addresses", json={"name": "太郎", "emails": [TARO]})).json()
    page = (await me.get(f"/addresses/{again['id']}/consent")).text
    assert "撤回" in page
    assert "配信停止中" in page


async def test_who_unsubscribed_comes_back_by_a_later_consent_only(me: Browser, world: World, tenant: TenantDb) -> None:
    async with world.server.inside(tenant.database) as inside:
        number = await inside.fetchval(
            "INSERT INTO suppression (email_key, reason, since) VALUES ($1, 'unsubscribed', now() - interval '1 day') "
            "RETURNING id",
            TARO,
        )
    refused = await me.api("POST", f"/api/v1/suppressions/{number}/lift", json={"why": "売りたい"})
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, "suppression_final")
    await consent(me, occurred_at="2020-01-01T00:00:00+09:00")
    assert [row["reason"] for row in (await state(me))["suppressions"]] == ["unsubscribed"], (
        "an old paper undoes it not"
    )
    await consent(me)
    assert (await state(me))["suppressions"] == []


async def test_a_consent_does_not_hide_that_mail_bounces(me: Browser, world: World, tenant: TenantDb) -> None:
    async with world.server.inside(tenant.database) as inside:
        await inside.execute("INSERT INTO suppression (email_key, reason, since) VALUES ($1, 'bounced', now())", TARO)
    await consent(me)
    (row,) = (await state(me))["suppressions"]
    lifted = await me.api("POST", f"/api/v1/suppressions/{row['id']}/lift", json={"why": "容量不足が解消"})
    assert lifted.status_code == 200
    assert (await state(me))["suppressions"] == []
    again = await me.api("POST", f"/api/v1/suppressions/{row['id']}/lift", json={"why": "もう一度"})
    assert again.status_code == 404


async def test_the_list_has_pages_and_filters(me: Browser, world: World, tenant: TenantDb) -> None:
    async with world.server.inside(tenant.database) as inside:
        await inside.execute(
            "INSERT INTO suppression (email_key, reason, since) SELECT 'user' || n || '@example.jp', "
            "CASE WHEN n % 2 = 0 THEN 'bounced' ELSE 'blocked' END, now() - n % 7 * interval '1 hour' "
            "FROM generate_series(1, 120) n"
        )
    seen: list[str] = []
    cursor = ""
    for _ in range(3):
        page = (await me.get("/api/v1/suppressions", params={"cursor": cursor})).json()
        seen += [row["email"] for row in page["items"]]
        cursor = page["next"] or ""
    assert (len(seen), len(set(seen)), cursor) == (120, 120, "")
    bounced = (await me.get("/api/v1/suppressions", params={"reason": "bounced", "q": "user1"})).json()["items"]
    assert {row["reason"] for row in bounced} == {"bounced"}
    assert all("user1" in row["email"] for row in bounced)
    assert (await me.get("/api/v1/suppressions", params={"q": "%"})).json()["items"] == []
    assert (await me.get("/suppressions?q=user11&reason=blocked")).status_code == 200


@pytest.mark.parametrize("cursor", ["x", "WzEsMl0", "WyIyMDI2LTAxLTAxIiwxXQ"])
async def test_foreign_cursors_are_refused(me: Browser, cursor: str) -> None:
    assert (await me.get("/api/v1/suppressions", params={"cursor": cursor})).status_code == 422


@pytest.mark.parametrize(
    "wrong",
    [
        {"email": "nobody"},
        {"how": ""},
        {"how": "x" * 101},
        {"occurred_at": "2999-01-01T00:00:00Z"},
        {"occurred_at": "1901-01-01T00:00:00Z"},
        {"source": "a\r\nb"},
        {"id": 1},
    ],
)
async def test_wrong_entries_are_refused_and_change_nothing(me: Browser, wrong: dict[str, Any]) -> None:
    body = {"email": TARO, "given": True, "how": "電話"} | wrong
    assert (await me.api("POST", "/api/v1/consents", json=body)).status_code == 422
    assert (await state(me))["consent"] is None


async def test_pages_record_and_show_what_is_wrong(me: Browser) -> None:
    made = (await me.api("POST", "/api/v1/addresses", json={"name": "太郎", "emails": [TARO]})).json()
    path = f"/addresses/{made['id']}/consent"
    form = {"email": TARO, "given": "yes", "how": "書面<b>", "source": "", "wording": "", "occurred_at": ""}
    assert (await me.post(path, form | {"how": ""})).status_code == 422
    assert (await me.post(path, form | {"occurred_at": "yesterday"})).status_code == 422
    assert (await me.post(path, form | {"email": "other@example.jp"})).status_code == 404
    assert (await me.post(path, form)).status_code == 303
    page = (await me.get(path)).text
    assert "書面&lt;b&gt;" in page
    assert (await me.post("/suppressions", {"email": TARO, "detail": "申し出"})).status_code == 303
    assert TARO in (await me.get("/suppressions")).text


async def test_the_neighbour_sees_nothing(me: Browser, world: World) -> None:
    await consent(me)
    await me.api("POST", "/api/v1/suppressions", json={"email": TARO})
    number = (await state(me))["suppressions"][0]["id"]
    neighbour = await world.master(await world.tenant())
    assert (await state(neighbour))["consent"] is None
    lift = await neighbour.api("POST", f"/api/v1/suppressions/{number}/lift", json={"why": "x"})
    assert lift.status_code == 404
    stranger = world.browser((await world.tenant()).host)
    assert (await stranger.get("/api/v1/consents", params={"email": TARO})).status_code == 401
    assert (await stranger.get("/suppressions")).status_code == 303


async def test_each_step_is_in_the_audit_log(me: Browser, world: World, tenant: TenantDb) -> None:
    await consent(me)
    await consent(me, given=False)
    for _ in range(2):
        await me.api("POST", "/api/v1/suppressions", json={"email": TARO, "detail": "電話"})
    async with world.server.inside(tenant.database) as inside:
        actions = [row[0] for row in await inside.fetch("SELECT action FROM audit_entry ORDER BY number")]
    assert actions == ["consent.give", "consent.withdraw", "suppression.add"]
