"""Consent and suppression live by e-mail: deletion and re-import do not lose them."""

from __future__ import annotations

from datetime import timedelta

import asyncpg
import pytest
from elink_app.clock import utc_now
from elink_app.consent.service import (
    ConsentFact,
    Kind,
    Reason,
    consent_state,
    is_suppressed,
    lift_own_will,
    record_consent,
    suppress,
    suppress_many,
    suppressed_among,
)

from tests.tenant_app.support import World

pytestmark = pytest.mark.postgres

EMAIL = "taro@example.jp"
WORDS = {"kind": "given", "how": "名刺", "source": "展示会", "wording": "案内の送信に同意します"}


async def test_the_ledger_outlives_the_address(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    made = (await me.api("POST", "/api/v1/addresses", json={"name": "甲", "emails": ["Taro@Example.jp"]})).json()
    assert (await me.api("POST", "/api/v1/consents/TARO@example.jp", json=WORDS)).status_code == 201
    assert (await me.api("POST", "/api/v1/suppressions", json={"email": "Taro@example.jp"})).status_code == 201
    await me.api("DELETE", f"/api/v1/addresses/{made['id']}")
    async with world.server.inside(tenant.database) as inside:
        await inside.execute("DELETE FROM address")
    found = (await me.get(f"/api/v1/consents/{EMAIL}")).json()
    assert (found["consent"], found["suppressed"]) == ("given", True)
    assert [(line["how"], line["wording"]) for line in found["ledger"]] == [("名刺", "案内の送信に同意します")]
    assert found["ledger"][0]["recorded_by"] == tenant.master_email
    assert [row["reason"] for row in found["suppressions"]] == ["blocked"]
    async with world.server.inside(tenant.database) as inside:
        for statement in ("DELETE FROM consent", "UPDATE consent SET kind = 'given'", "TRUNCATE consent"):
            with pytest.raises(asyncpg.RestrictViolationError):
                await inside.execute(statement)
        actions = [row[0] for row in await inside.fetch("SELECT action FROM audit_entry ORDER BY number")]
    assert {"consent.given", "suppression.add"} <= set(actions)


@pytest.mark.parametrize("email", ["abc", "İ" * 200, "a@b", "taro@example.jp,jiro@example.jp"])
async def test_what_is_no_email_gets_no_line_that_nobody_could_remove(world: World, email: str) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    refused = await me.api("POST", f"/api/v1/consents/{email}", json=WORDS)
    assert refused.status_code == 422
    assert "email" in refused.text
    async with world.server.inside(tenant.database) as inside:
        assert await inside.fetchval("SELECT count(*) FROM consent") == 0


async def test_an_old_consent_that_is_recorded_late_does_not_undo_a_withdrawal(world: World) -> None:
    me = await world.master(await world.tenant())
    path = f"/api/v1/consents/{EMAIL}"
    await me.api("POST", path, json={"kind": "withdrawn", "at": "2024-05-01T00:00:00+09:00"})
    late = await me.api("POST", path, json={**WORDS, "at": "2020-01-01T00:00:00+09:00"})
    assert (late.json()["consent"], len(late.json()["ledger"])) == ("withdrawn", 2)
    newer = await me.api("POST", path, json={**WORDS, "at": "2025-01-01T00:00:00+09:00"})
    assert newer.json()["consent"] == "given"
    future = await me.api("POST", path, json={"kind": "withdrawn", "at": "2999-01-01T00:00:00+09:00"})
    assert future.json()["ledger"][0]["at"] < "2999"
    assert (await me.api("POST", path, json={"kind": "withdrawn"})).json()["consent"] == "withdrawn"


async def test_nobody_writes_to_who_wants_no_mail(world: World) -> None:
    me = await world.master(await world.tenant())
    for reason in ("unsubscribed", "blocked"):
        await me.api("POST", "/api/v1/suppressions", json={"email": EMAIL, "reason": reason})
    again = await me.api("POST", "/api/v1/suppressions", json={"email": EMAIL, "reason": "unsubscribed"})
    ids = {row["reason"]: row["id"] for row in again.json()["suppressions"]}
    assert len(again.json()["suppressions"]) == 2
    lift = "/api/v1/suppressions/{}/lift"
    assert (await me.api("POST", lift.format(ids["blocked"]), json={"why": "誤り"})).status_code == 200
    assert (await me.api("POST", lift.format(ids["blocked"]), json={"why": "誤り"})).status_code == 404
    assert (await me.get(f"/api/v1/consents/{EMAIL}")).json()["suppressed"] is True
    refused = await me.api("POST", lift.format(ids["unsubscribed"]), json={"why": "送りたい"})
    assert refused.status_code == 409
    assert refused.json()["type"].endswith("/consent-needed")
    old = {**WORDS, "at": "2020-01-01T00:00:00+09:00"}
    await me.api("POST", f"/api/v1/consents/{EMAIL}", json=old)
    assert (await me.api("POST", lift.format(ids["unsubscribed"]), json={"why": "x"})).status_code == 409
    await me.api("POST", f"/api/v1/consents/{EMAIL}", json=WORDS)
    assert (await me.api("POST", lift.format(ids["unsubscribed"]), json={"why": "再同意"})).status_code == 200
    found = (await me.get(f"/api/v1/consents/{EMAIL}")).json()
    assert found["suppressed"] is False
    assert {row["lifted_why"] for row in found["suppressions"]} == {"誤り", "再同意"}


async def test_functions_for_other_domains(world: World) -> None:
    tenant = world.parts.directory.get((await world.tenant()).name)
    assert tenant is not None
    now = utc_now()
    async with world.parts.databases.transaction(tenant) as db:
        assert await suppress(db, EMAIL, Reason.BOUNCED, "550 no such user", "mail", now=now)
        assert not await suppress(db, EMAIL, Reason.BOUNCED, "again", "mail", now=now)
        assert await suppress_many(db, [EMAIL, "b@b.jp", "b@b.jp"], Reason.BLOCKED, now=now) == 2
        assert await suppress(db, "c@c.jp", Reason.COMPLAINED, "abuse", "mail", now=now)
        assert await suppressed_among(db, [EMAIL, "b@b.jp", "c@c.jp", "d@d.jp"]) == {EMAIL, "b@b.jp", "c@c.jp"}
        assert await suppressed_among(db, ["d@d.jp"]) == set()
        assert await is_suppressed(db, EMAIL)
        assert not await is_suppressed(db, "d@d.jp")
        assert await lift_own_will(db, EMAIL, "self", "", now) == 0
        facts = [ConsentFact("B@b.jp", Kind.GIVEN, now), ConsentFact("b@b.jp", Kind.WITHDRAWN, now + timedelta(1))]
        await record_consent(db, facts, now + timedelta(2))
        await record_consent(db, [], now)
        assert await consent_state(db, ["b@b.jp", "nobody@b.jp"]) == {"b@b.jp": Kind.WITHDRAWN}


async def test_the_list_is_searched_and_leafed_through(world: World) -> None:
    me = await world.master(await world.tenant())
    for n in range(5):
        await me.api("POST", "/api/v1/suppressions", json={"email": f"p{n}_x@example.jp"})
    seen, before = [], ""
    while True:
        page = (await me.get(f"/api/v1/suppressions?size=2{before}")).json()
        seen += [row["email"] for row in page["items"]]
        if page["next"] is None:
            break
        before = f"&before={page['next']}"
    assert seen == [f"p{n}_x@example.jp" for n in (4, 3, 2, 1, 0)]
    for q, count in (("P3_", 1), ("_", 5), ("%", 0), ("'", 0), ("example", 5)):
        found = await me.client.get("/api/v1/suppressions", params={"q": q})
        assert len(found.json()["items"]) == count, q
    assert (await me.get("/api/v1/suppressions?reason=bounced")).json()["items"] == []
    assert (await me.get("/api/v1/suppressions?reason=x")).status_code == 422
    for wrong in ({"email": "x"}, {"email": EMAIL, "reason": "bounced"}, {"email": "a@b.jp\nBcc: c@d.jp"}):
        assert (await me.api("POST", "/api/v1/suppressions", json=wrong)).status_code == 422
