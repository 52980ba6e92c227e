"""Every id in every route, tried by who may not: another user of the tenant, and the master of another tenant."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from elink_app.accounts.permissions import MASTER_ONLY, Permission
from elink_operator.database.model import TenantDb

from tests.tenant_app.deliveries.support import RULES, SENDER
from tests.tenant_app.hostile.routes import Probe
from tests.tenant_app.people.support import member
from tests.tenant_app.support import Browser, World
from tests.tenant_app.transfer.support import Bench, person, table
from tests.tenant_app.transfer.test_pages import HEADING

pytestmark = pytest.mark.postgres

MARK, PART = "ひみつ甲乙丙", "ひみつ"
EMAIL = "mark7f3a@secret.example"
# What somebody asked for stands in the answer, also in the link that leads back to the page in another language.
_ASKED = re.compile(r"mark7f3a(@|%(25)*40)secret\.example")
TAG = "極秘案件"
# What must be as it was, whatever was tried.
_STANDING = {
    "address": "SELECT * FROM address WHERE name LIKE $1",
    "email": "SELECT * FROM address_email WHERE email_key LIKE 'mark7f3a%' AND $1 <> ''",
    "consent": "SELECT * FROM consent WHERE email_key LIKE 'mark7f3a%' AND $1 <> ''",
    "suppression": "SELECT * FROM suppression WHERE email_key LIKE 'mark7f3a%' AND $1 <> ''",
    "label": "SELECT id, is_label FROM tag WHERE is_label AND $1 <> ''",
    "job": "SELECT id, state, cancel_asked, result FROM job WHERE account_id = 1 + $2 AND $1 <> ''",
    "file": "SELECT * FROM import_file WHERE account_id = 1 + $2 AND $1 <> ''",
    "run": "SELECT * FROM utility_run WHERE account_id = 1 + $2 AND $1 <> ''",
    "token": "SELECT id, expires_at FROM api_token WHERE account_id = 1 + $2 AND $1 <> ''",
    "account": "SELECT id, email, is_master, display_name FROM account WHERE is_master AND $1 <> ''",
    "merge": "SELECT * FROM address_merge WHERE $1 <> ''",
}


async def standing(world: World, tenant: TenantDb, first: int) -> dict[str, list[str]]:
    async with world.server.inside(tenant.database) as db:
        return {
            name: [str(row) for row in await db.fetch(sql, f"{MARK}%", *([first] if "$2" in sql else []))]
            for name, sql in _STANDING.items()
        }


async def everything(world: World, tenant: TenantDb) -> dict[str, int]:
    """How many rows each table has; log-in attempts may be counted."""
    async with world.server.inside(tenant.database) as db:
        names = await db.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = [row["tablename"] for row in names if row["tablename"] != "login_throttle"]
        return {table: await db.fetchval(f'SELECT count(*) FROM "{table}"') for table in tables}


async def furnish(world: World, tenant: TenantDb, me: Browser) -> Bench:
    """One of everything, made by the master; two people with MARK in every text, whom a label hides."""

    async def call(method: str, path: str, **options: Any) -> Any:
        answer = await me.api(method, f"/api/v1{path}", **options)
        assert answer.is_success, (path, answer.text)
        return answer.json() if answer.content else None

    known = world.parts.directory.get(tenant.name)
    assert known is not None
    bench = Bench(world, known)
    secret = {"name": MARK, "company": MARK, "notes": MARK, "postal_address": MARK, "tags": [TAG]}
    people = [
        await call("POST", "/addresses", json={**secret, "emails": [email]})
        for email in (EMAIL, "mark7f3a.second@secret.example")
    ]
    third = await call("POST", "/addresses", json={**secret, "emails": ["mark7f3a.third@secret.example"]})
    await call("POST", "/addresses", json={"name": "みえる人", "emails": ["seen@open.example"]})
    tag = next(one["id"] for one in await call("GET", "/tags") if one["name"] == TAG)
    await call("POST", f"/consents/{EMAIL}", json={"kind": "given", "source": MARK, "wording": MARK})
    await call("POST", "/suppressions", json={"email": "mark7f3a.third@secret.example", "detail": MARK})
    await call("POST", "/settings/sender-addresses", json={"email": SENDER, "name": "さくら"})
    await call("PUT", "/settings/sender", json=RULES)
    tree = {"kind": "all", "of": []}
    segment = await call("POST", "/segments", json={"name": "全員", "tree": tree})
    await call("POST", "/templates", json={"name": "一", "subject": "件名", "text_body": "本文"})
    body = {"name": "お知らせ", "category": "notice", "from_address": SENDER, "segment_id": segment["id"],
            "subject": "件名", "text_body": "{{名前}} 様"}  # fmt: skip
    delivery = await call("POST", "/deliveries", json=body)
    await call("POST", f"/deliveries/{delivery['id']}/request")
    await call("POST", f"/deliveries/{delivery['id']}/release", json={"when": "now", "typed_count": None})
    rows = person(MARK, "mark7f3a.import@secret.example", tags=TAG), person(MARK, "no mail", notes=MARK)
    content = table(*rows, heading=HEADING)
    headers = {"Content-Type": "application/octet-stream"}
    file = await call("POST", f"/imports?name={MARK}.csv", content=content, headers=headers)
    await call("POST", f"/imports/{file['id']}/run")
    await call("POST", "/exports", json={})
    await call("POST", "/tokens", json={"name": MARK, "permissions": ["addresses:view"], "days": 1})
    await call("POST", "/utilities", json={"request": {"program": "edit", "field": "notes", "value": MARK}})
    await call("POST", "/duplicates/merge", json={"keep": people[0]["id"], "merge": [third["id"]]})
    await call("PUT", f"/tags/{tag}/label", json={"is_label": True})
    await bench.work()
    unlabelled = "SELECT 1 FROM address WHERE name = $1 AND NOT $2 = ANY(tag_ids)"
    assert await bench.rows(unlabelled, MARK, tag) == [], "what is to be hidden is not"
    return bench


def found_in(answers: Any) -> list[tuple[str, str, int]]:
    """Calls whose answers tell what they must not."""
    told = []
    for call, answer in answers:
        assert answer.status_code < 500, (call, answer.text[:300])
        plain = answer.text if answer.headers.get("content-type", "").startswith(("text", "application/")) else ""
        for mark in (MARK, "mark7f3a"):
            # What was asked for may be said again in the page that says no.
            if mark in _ASKED.sub("", plain):
                told.append((call, mark, answer.status_code))
    return told


NAMES = {"email": EMAIL, "program": "delete", "token": "0" * 50, "name": "x" * 26 + ".png", "notice_id": "x"}


async def test_who_may_not_see_a_label_finds_it_by_no_id(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    await furnish(world, tenant, me)
    before = await standing(world, tenant, 0)
    assert all(before.values()), before
    most = sorted(set(Permission) - MASTER_ONLY - {Permission.AUDIT_VIEW} | {Permission.UTILITIES_RUN})
    clerk, _, _ = await member(world, tenant, me, *most)
    told = found_in(await Probe(clerk, (1, 2, 3), NAMES, PART).tries())
    assert told == [], "\n".join(map(str, told))
    after = await standing(world, tenant, 0)
    # What one says oneself about an e-mail is added to what others recorded, which is neither shown nor changed.
    own = {name: [row for row in after[name] if row in before[name]] for name in ("consent", "suppression")}
    assert {**after, **own} == before
    assert (await clerk.get(f"/api/v1/addresses?q={PART}")).json()["total"] == 0
    assert TAG not in json.dumps((await clerk.get("/api/v1/tags")).json(), ensure_ascii=False)


async def test_who_may_nothing_reaches_nothing(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    await furnish(world, tenant, me)
    nobody, _, _ = await member(world, tenant, me)
    before, rows = await standing(world, tenant, 0), await everything(world, tenant)
    answers = list(await Probe(nobody, (1, 2), NAMES, PART).tries())
    assert found_in(answers) == []
    assert await standing(world, tenant, 0) == before
    # Their own token may be made, and notices are for everybody.
    after = await everything(world, tenant)
    changed = {name for name in rows if rows[name] != after[name]}
    assert changed <= {"api_token", "audit_entry", "notice_receipt"}
    own = ("/", "/account", "/api/v1/session", "/api/v1/tokens", "/language", "/manual", "/contact", "/notices",
           "/api/v1/notices", "/jobs", "/api/v1/jobs", "/welcome", "/login", "/setup", "/unsubscribe", "/files/img",
           "/imports", "/exports", "/logout", "/api/v1/account", "/api/v1/dashboard", "/api/v1/support")  # fmt: skip
    reached = [
        (call, answer.status_code)
        for call, answer in answers
        if answer.status_code < 400 and not call.partition(" ")[2].startswith(own[1:]) and call != "GET /"
    ]
    assert reached == []


async def test_ids_of_another_tenant_reach_nothing(world: World) -> None:
    mine, other = await world.tenant(), await world.tenant()
    async with world.server.inside(other.database) as db:
        # Numbers that one's own tenant does not have.
        await db.execute(
            "SELECT setval(quote_ident(sequencename), 4000) FROM pg_sequences WHERE schemaname = 'public' "
            "AND sequencename <> 'account_id_seq'"
        )
    me, they = await world.master(mine), await world.master(other)
    await furnish(world, other, they)
    before, rows = await standing(world, other, 0), await everything(world, other)
    assert found_in(await Probe(me, (4001, 4002, 4003), NAMES, PART).tries()) == []
    assert await standing(world, other, 0) == before
    assert await everything(world, other) == rows
