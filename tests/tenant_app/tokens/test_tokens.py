"""API tokens: a part of what the owner may, for the API only, and gone when they should be."""

from __future__ import annotations

import hashlib

import pytest

from tests.tenant_app.people.support import invite, make_role, member, one, run
from tests.tenant_app.support import ORIGIN_HEADERS, Browser, World

pytestmark = pytest.mark.postgres

ADDRESS = {"name": "山田 太郎"}


async def make(browser: Browser, *permissions: str) -> dict[str, object]:
    answer = await browser.api("POST", "/api/v1/tokens", json={"name": "基幹", "permissions": list(permissions)})
    assert answer.status_code == 201, answer.text
    made: dict[str, object] = answer.json()
    return made


def bearer(secret: object) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def test_scope_and_secret(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    made = await make(master, "addresses:view", "addresses:edit")
    secret = str(made["secret"])
    assert secret.startswith("elk_")
    stored = await one(world, tenant, "SELECT secret_sha256 FROM api_token")
    assert stored == hashlib.sha256(secret.encode()).digest()
    # Shown once, and in no log.
    assert secret not in (await master.get("/api/v1/tokens")).text + (await master.get("/account/tokens")).text
    assert secret not in (await master.get("/api/v1/audit")).text
    program = world.browser(tenant.host)
    # No cookie, no Origin, no CSRF token.
    answer = await program.client.post("/api/v1/addresses", json=ADDRESS, headers=bearer(secret))
    assert answer.status_code == 201
    session = (await program.get("/api/v1/session", headers=bearer(secret))).json()
    assert session["permissions"] == ["addresses:edit", "addresses:view"]
    assert session["csrf_token"] == ""
    assert (await program.get("/api/v1/users", headers=bearer(secret))).status_code == 403
    assert await one(world, tenant, "SELECT last_used_at IS NOT NULL FROM api_token")


async def test_never_more_than_the_owner_may_now(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    browser, user_id, _ = await member(world, tenant, master, "addresses:view")
    refused = await browser.api("POST", "/api/v1/tokens", json={"name": "x", "permissions": ["addresses:edit"]})
    assert refused.json()["errors"][0]["code"] == "permission_lacking"
    secret = (await make(browser, "addresses:view"))["secret"]
    program = world.browser(tenant.host)
    assert (await program.get("/api/v1/addresses", headers=bearer(secret))).status_code == 200
    await master.api("PUT", f"/api/v1/users/{user_id}", json={"roles": []})
    assert (await program.get("/api/v1/addresses", headers=bearer(secret))).status_code == 403


async def test_never_on_pages_nor_for_the_account_itself(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    made = await make(master, *(await master.get("/api/v1/session")).json()["permissions"])
    program, headers = world.browser(tenant.host), bearer(made["secret"])
    for path in ("/", "/addresses", "/users", "/account", "/account/tokens", "/audit.csv", "/settings/security"):
        answer = await program.get(path, headers=headers)
        assert (answer.status_code, answer.headers["location"][:6]) == (303, "/login"), path
    # A token makes no tokens, ends none, and does nothing that only the master in person does.
    body = {"name": "x", "permissions": []}
    assert (await program.client.post("/api/v1/tokens", json=body, headers=headers)).status_code == 403
    assert (await program.client.delete(f"/api/v1/tokens/{made['id']}", headers=headers)).status_code == 403
    field = {"key": "x", "label": "x", "kind": "text"}
    assert (await program.client.post("/api/v1/user-fields", json=field, headers=headers)).status_code == 403
    # On a page the CSRF guard stands, whatever the header says.
    assert (await program.client.post("/logout", headers=headers)).status_code == 403


async def test_with_a_cookie_the_rules_of_browsers_stay(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    secret = (await make(master, "addresses:view", "addresses:edit"))["secret"]
    for headers in ({}, ORIGIN_HEADERS):
        answer = await master.client.post("/api/v1/addresses", json=ADDRESS, headers={**bearer(secret), **headers})
        assert answer.status_code == 403
    assert await one(world, tenant, "SELECT count(*) FROM address") == 0


async def test_over_revoked_foreign_or_nonsense(world: World) -> None:
    here, there = await world.tenant(), await world.tenant()
    master = await world.master(here)
    await world.master(there)
    made = await make(master, "addresses:view")
    secret, program = str(made["secret"]), world.browser(here.host)

    async def status(value: str, browser: Browser = program) -> int:
        return (await browser.get("/api/v1/addresses", headers=bearer(value))).status_code

    assert await status(secret) == 200
    assert await status(secret, world.browser(there.host)) == 401
    for wrong in ("", "elk_", secret[:-1], secret + "x", secret.upper(), "elk_" + "A" * 43, "x" * 10_000):
        assert await status(wrong) == 401
    await run(world, here, "UPDATE api_token SET expires_at = now() - interval '1 second'")
    assert await status(secret) == 401
    await run(world, here, "UPDATE api_token SET expires_at = now() + interval '1 day'")
    assert await status(secret) == 200
    assert (await master.api("DELETE", f"/api/v1/tokens/{made['id']}")).status_code == 204
    assert await status(secret) == 401
    assert (await master.api("DELETE", f"/api/v1/tokens/{made['id']}")).status_code == 404


async def test_nobody_sees_or_ends_the_tokens_of_another(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    made = await make(master, "addresses:view")
    manager, _, _ = await member(world, tenant, master, "users:manage")
    assert (await manager.get("/api/v1/tokens")).json() == {"items": []}
    assert (await manager.api("DELETE", f"/api/v1/tokens/{made['id']}")).status_code == 404
    assert (await manager.post(f"/account/tokens/{made['id']}/revoke")).status_code == 404


async def test_the_page(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    answer = await master.post("/account/tokens", {"name": "基幹", "permissions": "addresses:view", "days": "7"})
    assert answer.status_code == 200
    assert answer.text.count("elk_") == 1
    for days in ("0", "367", "x", ""):
        assert (await master.post("/account/tokens", {"name": "y", "days": days})).status_code == 422
    for body in ({"name": "x", "permissions": ["root"]}, {"name": "x", "days": 10**9}, {"name": "\x00"}):
        assert (await master.api("POST", "/api/v1/tokens", json=body)).status_code == 422
    token_id = await one(world, tenant, "SELECT id FROM api_token")
    assert (await master.post(f"/account/tokens/{token_id}/revoke")).status_code == 303


async def test_the_masters_token_grants_no_more_than_it_has(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    seeing, changing = await make_role(master, "addresses:view"), await make_role(master, "addresses:edit")
    user = await invite(master, "hito@staff.example", changing)
    secret = (await make(master, "users:manage", "addresses:view"))["secret"]
    program = world.browser(tenant.host)

    async def status(method: str, path: str, body: dict[str, object]) -> int:
        answer = await program.client.request(method, f"/api/v1/{path}", json=body, headers=bearer(secret))
        return answer.status_code

    for permission, wanted in (("addresses:view", 201), ("users:manage", 201), ("addresses:edit", 403)):
        assert await status("POST", "roles", {"name": permission, "permissions": [permission]}) == wanted, permission
    more = {"name": "more", "permissions": ["addresses:view", "audit:view"]}
    assert await status("PUT", f"roles/{seeing}", more) == 403
    assert await status("POST", "users", {"email": "a@staff.example", "roles": [changing]}) == 403
    assert await status("POST", "users", {"email": "b@staff.example", "roles": [seeing]}) == 201
    # What somebody has already is no new grant, and is not taken away either.
    assert await status("PUT", f"users/{user}", {"roles": [changing, seeing]}) == 200
    assert await status("PUT", f"users/{user}", {"roles": [seeing]}) == 403
    assert (await master.api("PUT", f"/api/v1/users/{user}", json={"roles": []})).status_code == 200
