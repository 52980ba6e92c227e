"""Password, factors, rules and the master's place by the API: the rules of the pages, and never for a token."""

from __future__ import annotations

import pytest
from httpx import Response

from tests.tenant_app.passkeys.device import Device, options_of
from tests.tenant_app.people.support import actions, member, one
from tests.tenant_app.security.test_second_factor import switch_on
from tests.tenant_app.support import PASSWORD, Browser, World

pytestmark = pytest.mark.postgres


@pytest.fixture
def world(narrow_world: World) -> World:
    """With one connection only: a proof of the password must not wait for a second one."""
    return narrow_world


PROOF = {"current_password": PASSWORD}
FACTORS = "/api/v1/account/factors"
OFFER = "/api/v1/master-offer"


def codes(answer: Response) -> list[tuple[str, str]]:
    assert answer.status_code == 422, answer.text
    return [(wrong["pointer"], wrong["code"]) for wrong in answer.json()["errors"]]


async def bearer(me: Browser, world: World) -> Browser:
    """A browser-less caller with a token of everything that the account may."""
    names = (await me.get("/api/v1/session")).json()["permissions"]
    made = await me.api("POST", "/api/v1/tokens", json={"name": "x", "permissions": names, "days": 1})
    assert made.status_code == 201, made.text
    caller = world.browser(me.host)
    caller.client.headers["Authorization"] = f"Bearer {made.json()['secret']}"
    return caller


async def test_a_forced_password_is_changed_by_the_api(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    clerk, clerk_id, email = await member(world, tenant, me, "addresses:view", "users:manage")
    caller = await bearer(clerk, world)
    master_id = await one(world, tenant, "SELECT id FROM account WHERE is_master")
    assert (await clerk.api("POST", f"/api/v1/users/{master_id}/force-password")).status_code == 403
    assert (await me.api("POST", f"/api/v1/users/{clerk_id}/force-password")).status_code == 200
    for who in (clerk, caller):
        held = await who.get("/api/v1/addresses")
        assert (held.status_code, held.json()["type"].endswith("/account-action-required")) == (403, True)
    path, new = "/api/v1/account/password", "新しい passphrase 四つの単語"
    assert (await caller.client.post(path, json={**PROOF, "password": new})).status_code == 403
    wrong = await clerk.api("POST", path, json={"current_password": "wrong", "password": new})
    assert codes(wrong) == [("/current_password", "password_wrong")]
    assert codes(await clerk.api("POST", path, json={**PROOF, "password": "short"})) == [
        ("/password", "password_short")
    ]
    assert codes(await clerk.api("POST", path, json={**PROOF, "password": PASSWORD})) == [
        ("/password", "password_reused")
    ]  # fmt: skip
    elsewhere = world.browser(tenant.host)
    await elsewhere.post("/login", {"email": email, "password": PASSWORD})
    assert (await clerk.api("POST", path, json={**PROOF, "password": new})).status_code == 204
    assert (await clerk.get("/api/v1/addresses")).status_code == 200
    assert (await caller.client.get("/api/v1/addresses")).status_code == 200
    assert (await elsewhere.get("/api/v1/session")).status_code == 401
    assert "account.change_password" in await actions(world, tenant)


async def test_own_factors(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    caller = await bearer(me, world)
    none = {"totp": False, "passkeys": [], "recovery_codes": 0}
    assert (await me.get(FACTORS)).json() == none
    for method, path in (("GET", FACTORS), ("POST", f"{FACTORS}/totp/remove"), ("POST", f"{FACTORS}/recovery-codes")):
        assert (await caller.client.request(method, path, json=PROOF)).status_code == 403
        if method == "POST":
            assert (await me.api(method, path, json=PROOF)).status_code == 404
    await switch_on(me)
    device = Device(tenant.host)
    asked = await me.post("/account/passkeys/new", {"name": "鍵", **PROOF})
    await me.post("/account/passkeys", {"name": "鍵", "credential": device.make(options_of(asked.text))})
    found = (await me.get(FACTORS)).json()
    assert (found["totp"], found["recovery_codes"], found["passkeys"][0]["name"]) == (True, 10, "鍵")
    passkey = f"{FACTORS}/passkeys/{found['passkeys'][0]['id']}"
    assert (await me.api("PUT", passkey, json={"name": "別の鍵"})).json()["name"] == "別の鍵"
    assert codes(await me.api("PUT", passkey, json={"name": ""})) == [("/name", "string_too_short")]
    other, _, _ = await member(world, tenant, me)
    assert (await other.api("PUT", passkey, json={"name": "x"})).status_code == 404
    assert (await other.api("POST", f"{passkey}/remove", json=PROOF)).status_code == 404
    fresh = (await me.api("POST", f"{FACTORS}/recovery-codes", json=PROOF)).json()["codes"]
    assert len(set(fresh)) == 10
    bad = {"current_password": "wrong"}
    for path in (f"{FACTORS}/totp/remove", f"{passkey}/remove", f"{FACTORS}/recovery-codes"):
        assert codes(await me.api("POST", path, json=bad)) == [("/current_password", "password_wrong")]
    assert (await me.api("POST", f"{FACTORS}/totp/remove", json=PROOF)).status_code == 204
    # The codes stand in for the passkey too, so they stay until nothing is left.
    assert (await me.get(FACTORS)).json()["recovery_codes"] == 10
    assert (await me.api("POST", f"{passkey}/remove", json=PROOF)).status_code == 204
    assert (await me.get(FACTORS)).json() == none


async def test_rules_are_the_master_s(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    clerk, _, _ = await member(world, tenant, me, "settings:manage")
    path = "/api/v1/settings/security"
    for who in (clerk, await bearer(me, world)):
        assert (await who.get(path)).status_code == 403
    assert (await me.get(path)).json() == {"second_factor_for_all": False, "passkeys_only": False}
    assert codes(await me.api("PUT", path, json={"second_factor_for_all": 1}))
    assert (await clerk.api("PUT", path, json={"second_factor_for_all": True})).status_code == 403
    assert (await me.api("PUT", path, json={"second_factor_for_all": True})).status_code == 200
    assert (await me.get(path)).status_code == 403
    # Even then the account can see what it lacks.
    assert (await me.get(FACTORS)).status_code == 200


async def test_both_confirm_the_transfer(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    heir, heir_id, email = await member(world, tenant, me)
    other, _, _ = await member(world, tenant, me)
    assert (await me.get(OFFER)).status_code == 404
    assert (await heir.api("POST", OFFER, json={"to": heir_id, **PROOF})).status_code == 403
    assert codes(await me.api("POST", OFFER, json={"to": 99, **PROOF})) == [("/to", "enum")]
    wrong = {"to": heir_id, "current_password": "wrong"}
    assert codes(await me.api("POST", OFFER, json=wrong)) == [("/current_password", "password_wrong")]
    made = await me.api("POST", OFFER, json={"to": heir_id, **PROOF})
    assert (made.status_code, made.json()["email"]) == (201, email)
    for who, status in ((me, 200), (heir, 200), (other, 404), (await bearer(me, world), 403)):
        assert (await who.get(OFFER)).status_code == status
    assert (await other.api("DELETE", OFFER)).status_code == 404
    assert (await other.api("POST", f"{OFFER}/accept", json=PROOF)).status_code == 404
    assert (await heir.api("DELETE", OFFER)).status_code == 204
    assert (await heir.api("POST", f"{OFFER}/accept", json=PROOF)).status_code == 404
    await me.api("POST", OFFER, json={"to": heir_id, **PROOF})
    assert codes(await heir.api("POST", f"{OFFER}/accept", json={"current_password": "wrong"}))
    assert (await heir.api("POST", f"{OFFER}/accept", json=PROOF)).status_code == 204
    assert (await heir.get("/api/v1/session")).json()["is_master"] is True
    assert (await me.get("/api/v1/session")).json()["is_master"] is False
    assert [action for action in await actions(world, tenant) if action.startswith("master.")][1:] == [
        "master.offer", "master.decline", "master.offer", "master.accept",
    ]  # fmt: skip
