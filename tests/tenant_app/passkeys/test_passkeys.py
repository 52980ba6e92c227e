"""Passkeys: made, used alone and after a password, bound to one host and one browser, each challenge once."""

from __future__ import annotations

import json
import re

import pyotp
import pytest
from elink_app.passkeys.ceremonies import is_copied
from elink_operator.database.model import TenantDb
from httpx import Response

from tests.tenant_app.passkeys.device import USER_PRESENT, Device, encoded, options_of
from tests.tenant_app.people.support import actions, member, one, run
from tests.tenant_app.security.test_second_factor import second_step, switch_on
from tests.tenant_app.support import PASSWORD, Browser, World


@pytest.fixture
def world(narrow_world: World) -> World:
    """With one connection only: no step may need a second one."""
    return narrow_world


PAGE = "/account/second-factor"


async def ask_new(browser: Browser, name: str = "会社の電話", password: str = PASSWORD) -> Response:
    return await browser.post("/account/passkeys/new", {"name": name, "current_password": password})


async def save(browser: Browser, credential: str, name: str = "会社の電話") -> Response:
    return await browser.post("/account/passkeys", {"name": name, "credential": credential})


async def add(browser: Browser, device: Device | None = None, name: str = "会社の電話") -> Device:
    """Add a passkey as the page says."""
    made = device or Device(browser.host)
    asked = await ask_new(browser, name)
    assert asked.status_code == 200, asked.text
    saved = await save(browser, made.make(options_of(asked.text)), name)
    assert (saved.status_code, "パスキーを保存しました" in saved.text) == (200, True), saved.text
    return made


async def ask(browser: Browser, path: str = "/login/passkey/start") -> Response:
    return await browser.post(path, {"next": "/addresses"}, page=await a_form(browser))


async def answer(browser: Browser, credential: str) -> Response:
    form = {"credential": credential, "next": "/addresses"}
    return await browser.post("/login/passkey", form, page=await a_form(browser))


async def a_form(browser: Browser) -> str:
    """A page with a form that the browser may open; whoever is logged in is led on from the log-in."""
    return "/login" if (await browser.get("/login")).status_code == 200 else "/account"


async def log_in(browser: Browser, device: Device, path: str = "/login/passkey/start") -> int:
    asked = await ask(browser, path)
    assert asked.status_code == 200, asked.text
    return (await answer(browser, device.use(options_of(asked.text)))).status_code


@pytest.mark.postgres
async def test_made_used_and_removed(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    refused = await ask_new(me, password="wrong password")
    assert (refused.status_code, 'id="passkey-password-error"' in refused.text) == (422, True)
    assert (await ask_new(me, name=" ")).status_code == 422
    asked = options_of((await ask_new(me)).text)
    assert asked["rp"]["id"] == tenant.host
    wanted = asked["authenticatorSelection"]
    assert (wanted["residentKey"], wanted["userVerification"]) == ("required", "required")
    assert tenant.master_email.encode() not in asked["user"]["id"].encode()
    device = Device(tenant.host)
    saved = await save(me, device.make(asked), "<b>電話</b>")
    codes = re.findall(r"<li><code>(\w{5}-\w{5})</code></li>", saved.text)
    assert len(set(codes)) == 10
    assert "&lt;b&gt;電話&lt;/b&gt;" in saved.text
    second = options_of((await ask_new(me)).text)
    assert [one["id"] for one in second["excludeCredentials"]] == [encoded(device.credential_id)]
    assert second["user"]["id"] == asked["user"]["id"]

    browser = world.browser(tenant.host)
    asked_page = (await ask(browser)).text
    assert (await browser.get("/addresses")).status_code == 303
    assert options_of(asked_page)["allowCredentials"] == []
    done = await answer(browser, device.use(options_of(asked_page)))
    assert (done.status_code, done.headers["location"]) == (303, "/addresses")
    assert (await browser.get("/api/v1/session")).json()["is_master"] is True
    assert await one(world, tenant, "SELECT sign_count FROM passkey") == 2
    assert await one(world, tenant, "SELECT last_used_at > now() - interval '1 minute' FROM passkey")
    assert await one(
        world, tenant, "SELECT after FROM audit_entry WHERE action = 'account.log_in' ORDER BY number DESC"
    )

    factors = (await me.get("/api/v1/account/factors")).json()
    number = factors["passkeys"][0]["id"]
    assert (factors["totp"], factors["recovery_codes"]) == (False, 10)
    own = f"/account/passkeys/{number}"
    assert "&lt;b&gt;電話&lt;/b&gt;" in (await me.get(own)).text
    assert (await me.post(own, {"name": "x" * 101})).status_code == 422
    assert (await me.post(own, {"name": "鍵"})).status_code == 303
    other, _, _ = await member(world, tenant, me)
    for path, form in ((own, {"name": "x"}), (f"{own}/remove", {"current_password": PASSWORD})):
        assert (await other.post(path, form)).status_code == 404
    assert (await other.get(own)).status_code == 404
    assert (await me.post(f"{own}/remove", {"current_password": "wrong"})).status_code == 422
    assert (await me.post(f"{own}/remove", {"current_password": PASSWORD})).status_code == 303
    assert await log_in(world.browser(tenant.host), device) == 401
    assert await one(world, tenant, "SELECT count(*) FROM recovery_code") == 0
    assert [action for action in await actions(world, tenant) if "passkey" in action] == [
        "account.add_passkey", "account.rename_passkey", "account.remove_passkey",
    ]  # fmt: skip


@pytest.mark.postgres
async def test_after_the_password(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    device = await add(me)
    secret, _ = await switch_on(me)
    clerk, _, _ = await member(world, tenant, me)
    others = await add(clerk)
    browser = world.browser(tenant.host)
    assert (await ask(browser, "/login/second/passkey")).headers["location"].startswith("/login?")
    first = await browser.log_in(tenant)
    assert first.headers["location"].startswith("/login/second")
    assert (await browser.get("/api/v1/session")).status_code == 401
    assert "/login/second/passkey" in (await browser.get("/login/second")).text
    asked = options_of((await ask(browser, "/login/second/passkey")).text)
    assert [one["id"] for one in asked["allowCredentials"]] == [encoded(device.credential_id)]
    assert asked["allowCredentials"][0]["transports"] == ["internal"]
    # Somebody else's passkey, and then the right one for a question that was answered.
    assert (await answer(browser, others.use(asked))).status_code == 401
    assert (await answer(browser, device.use(asked))).status_code == 401
    device.handle = b""
    assert await log_in(browser, device, "/login/second/passkey") == 303
    assert (await browser.get("/api/v1/session")).json()["email"] == tenant.master_email
    # The codes of the phone go on working beside it.
    again = world.browser(tenant.host)
    await again.log_in(tenant)
    await run(world, tenant, "UPDATE account SET totp_step = 0")
    assert await second_step(again, pyotp.TOTP(secret).now()) == 303
    # A device that does not say whose passkey it is cannot be used alone.
    assert await log_in(world.browser(tenant.host), device) == 401


@pytest.mark.postgres
async def test_what_was_signed_for_another_host_counts_nowhere(world: World) -> None:
    mine, theirs = await world.tenant(), await world.tenant()
    device = await add(await world.master(mine))
    await world.master(theirs)
    async with world.server.inside(mine.database) as inside:
        row = await inside.fetchrow("SELECT credential_id, public_key, user_handle FROM passkey")
    # Even if the other tenant knew the key: the device signs the host that it was made for.
    await run(
        world, theirs,
        "INSERT INTO passkey (account_id, name, credential_id, public_key, user_handle, sign_count, transports) "
        "SELECT id, 'stolen', $1, $2, $3, 0, '{}' FROM account WHERE is_master", *row,
    )  # fmt: skip
    browser = world.browser(theirs.host)
    assert await log_in(browser, device) == 401
    device.origin = f"https://{theirs.host}"
    assert await log_in(browser, device) == 401
    # A page of the other host that passes a question on gets an answer that names it.
    device.origin, device.host = "", theirs.host
    assert await log_in(world.browser(mine.host), device) == 401
    # The control: the same key, asked at home.
    device.host = mine.host
    assert await log_in(world.browser(mine.host), device) == 303
    # A challenge of one tenant is none at another, whatever the cookie.
    asked = options_of((await ask(browser)).text)
    stranger = world.browser(mine.host)
    stranger.client.cookies.set("__Host-elink-form", browser.cookie("__Host-elink-form") or "", domain=mine.host)
    assert (await answer(stranger, device.use(asked))).status_code == 401


@pytest.mark.postgres
async def test_a_challenge_is_for_one_browser_one_purpose_and_some_minutes(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    device = await add(me)
    asking, other = world.browser(tenant.host), world.browser(tenant.host)
    await other.get("/login")
    asked = options_of((await ask(asking)).text)
    assert (await answer(other, device.use(asked))).status_code == 401
    assert (await answer(asking, device.use(asked))).status_code == 303
    await asking.post("/logout")
    assert (await answer(asking, device.use(asked))).status_code == 401
    # A question for a new passkey is no question for a log-in, and the other way round.
    assert (await answer(me, device.use(options_of((await ask_new(me)).text)))).status_code == 401
    fresh = Device(tenant.host)
    for_log_in = {**options_of((await ask(me)).text), "user": {"id": encoded(b"x")}}
    assert (await save(me, fresh.make(for_log_in))).status_code == 422
    late = options_of((await ask(asking)).text)
    left = "SELECT round(extract(epoch FROM max(expires_at) - now())::numeric / 60)::int FROM passkey_challenge"
    assert await one(world, tenant, left) == 5
    await run(world, tenant, "UPDATE passkey_challenge SET expires_at = now()")
    assert (await answer(asking, device.use(late))).status_code == 401
    assert (await save(me, fresh.make({**late, "user": {"id": encoded(b"x")}}))).status_code == 422
    assert await one(world, tenant, "SELECT count(*) FROM passkey") == 1


@pytest.mark.postgres
async def test_refused_devices(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    unverified = Device(tenant.host, flags=USER_PRESENT)
    foreign = Device("evil.example")
    for device in (unverified, foreign):
        refused = await save(me, device.make(options_of((await ask_new(me)).text)))
        assert (refused.status_code, "パスキーを保存できませんでした" in refused.text) == (422, True)
    device = await add(me)
    # The same credential a second time, by another account.
    clerk, _, _ = await member(world, tenant, me)
    assert (await save(clerk, device.make(options_of((await ask_new(clerk)).text)))).status_code == 422
    device.handle = await one(world, tenant, "SELECT user_handle FROM passkey")
    browser = world.browser(tenant.host)
    device.flags = USER_PRESENT
    assert await log_in(browser, device) == 401
    device.flags |= 4
    asked = options_of((await ask(browser)).text)
    assert (await answer(browser, device.use(asked, crossOrigin=True))).status_code == 401
    forged = Device(tenant.host, credential_id=device.credential_id, handle=device.handle, counter=50)
    assert await log_in(browser, forged) == 401
    assert await log_in(browser, device) == 303
    # A copy of the device: its counter runs behind.
    device.counter -= 1
    copied = world.browser(tenant.host)
    assert await log_in(copied, device) == 401
    assert (await copied.get("/api/v1/session")).status_code == 401
    assert "account.refuse_passkey" in await actions(world, tenant)
    await run(world, tenant, "UPDATE account SET disabled_at = now() WHERE is_master")
    device.counter += 9
    assert await log_in(world.browser(tenant.host), device) == 401


@pytest.mark.parametrize(
    ("kept", "shown", "copied"), [(0, 0, False), (0, 1, False), (5, 6, False), (5, 5, True), (5, 4, True), (1, 0, True)]
)
def test_a_counter_that_does_not_grow_betrays_a_copy(kept: int, shown: int, copied: bool) -> None:
    assert is_copied(kept, shown) is copied


@pytest.mark.postgres
async def test_hostile_answers(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    device = await add(me)
    browser = world.browser(tenant.host)
    good = json.loads(device.use(options_of((await ask(browser)).text)))
    parts = good["response"]
    answers = [
        "", "null", "[]", "{}", '"x"', "{" * 20_000, "[" * 20_000, "x" * 40_000, '{"id": "\\ud800"}',
        *(json.dumps({**good, key: value}) for key in good for value in (None, 5, "", "あ", {}, "A" * 5000)),
        *(
            json.dumps({**good, "response": {**parts, key: value}})
            for key in parts
            for value in (5, "", "=", "あ", {}, encoded(b"{}"), encoded(b"\xff" * 300), encoded(b"[" * 20_000))
        ),
    ]  # fmt: skip
    # By the same path as the browser, but not counted: these would be held back after the first twenty.
    for text in answers:
        assert (await answer(browser, text)).status_code in (401, 413), text[:200]
    new = json.loads(Device(tenant.host).make(options_of((await ask_new(me)).text)))
    for text in [
        *answers[:9],
        *(
            json.dumps({**new, "response": {**new["response"], key: value}})
            for key in ("clientDataJSON", "attestationObject")
            for value in (5, "", "あ", encoded(b"{}"), encoded(b"\xa1" * 300), encoded(b"\x9f" * 3000))
        ),
    ]:
        assert (await save(me, text)).status_code in (422, 413), text[:200]
    assert (await browser.post("/login/passkey", {}, page="/login")).status_code == 401
    bare = await browser.client.post("/login/passkey", data={"credential": "{}"})
    assert bare.status_code == 403


@pytest.mark.postgres
async def test_attempts_are_held_back_as_with_passwords(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    await add(me)
    browser = world.browser(tenant.host, "198.51.100.9")
    statuses = [(await ask(browser)).status_code for _ in range(21)]
    assert statuses == [200] * 20 + [429]
    held = await ask(browser)
    assert int(held.headers["retry-after"]) > 0
    # After the password the account's own count holds too, from any address.
    waiting = world.browser(tenant.host, "198.51.100.10")
    await waiting.log_in(tenant)
    statuses = [(await ask(waiting, "/login/second/passkey")).status_code for _ in range(5)]
    assert statuses == [200] * 4 + [429]


@pytest.mark.postgres
async def test_demanded_of_all_and_lost(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    clerk, clerk_id, _ = await member(world, tenant, me, "addresses:view")
    assert (await me.api("PUT", "/api/v1/settings/security", json={"second_factor_for_all": True})).status_code == 200
    assert (await clerk.get("/addresses")).headers["location"] == PAGE
    device = await add(clerk)
    assert (await clerk.get("/addresses")).status_code == 200
    assert (await me.get("/users")).headers["location"] == PAGE
    await add(me)
    assert (await me.api("GET", f"/api/v1/users/{clerk_id}")).json()["second_factor"] is True
    lost = await me.api("POST", f"/api/v1/users/{clerk_id}/remove-factor")
    assert (lost.status_code, lost.json()["second_factor"]) == (200, False)
    assert (await me.api("POST", f"/api/v1/users/{clerk_id}/remove-factor")).status_code == 404
    assert await log_in(world.browser(tenant.host), device) == 401
    assert (await clerk.get("/addresses")).headers["location"] == PAGE
    # A new set-up link of the provider: the phone may be lost too.
    await run(world, tenant, "DELETE FROM used_setup_token")
    assert (await world.browser(tenant.host).set_up(tenant, PASSWORD + "2")).status_code == 303
    assert await one(world, tenant, "SELECT count(*) FROM passkey") == 0


RULES = "/api/v1/settings/security"


@pytest.mark.postgres
async def test_where_passkeys_alone_are_accepted_no_code_lets_in(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    clerk, clerk_id, email = await member(world, tenant, me, "addresses:view")
    demanded = {"second_factor_for_all": True, "passkeys_only": True}
    # A master without a passkey would lock everybody out, himself included.
    refused = await me.api("PUT", RULES, json=demanded)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, "own_passkey_first")
    form = {"passkeys_only": "yes"}
    page = await me.post("/settings/security", form)
    assert (page.status_code, 'id="passkeys_only-error"' in page.text) == (422, True)
    secret, codes = await switch_on(me)
    device = await add(me)
    assert (await clerk.post("/settings/security", form)).status_code == 403
    assert (await me.post("/settings/security", form)).status_code == 303
    assert (await me.get(RULES)).json() == demanded

    # The phone's code and the recovery codes, right as they are, let nobody in who has a passkey.
    browser = world.browser(tenant.host)
    await browser.log_in(tenant)
    step = (await browser.get("/login/second")).text
    assert ('name="code"' in step, "/login/second/passkey" in step) == (False, True)
    await run(world, tenant, "UPDATE account SET totp_step = 0")
    for code in (pyotp.TOTP(secret).now(), codes[0]):
        answered = await browser.post("/login/second", {"code": code, "next": "/"}, page="/login/second")
        assert (answered.status_code, "パスキーだけを認めています" in answered.text) == (401, True)
    assert (await browser.get("/api/v1/session")).status_code == 401
    assert await log_in(browser, device, "/login/second/passkey") == 303
    assert await one(world, tenant, "SELECT count(*) FROM recovery_code") == 10
    proof = {"current_password": PASSWORD}
    assert (await me.api("POST", "/api/v1/account/factors/recovery-codes", json=proof)).status_code == 404

    # Whoever has none gets in to make one, and nowhere else; a phone does not count, nor can one be added.
    token = {"name": "x", "permissions": ["addresses:view"]}
    assert (await clerk.api("POST", "/api/v1/tokens", json=token)).status_code == 403
    await run(world, tenant, f"UPDATE account SET totp_secret = '{secret}' WHERE id = {clerk_id}")
    assert (await clerk.get("/addresses")).headers["location"] == PAGE
    page = await clerk.get(PAGE)
    assert "続ける前に追加してください" in page.text
    await run(world, tenant, f"UPDATE account SET totp_secret = NULL WHERE id = {clerk_id}")
    assert 'class="qr"' not in (await clerk.get(PAGE)).text
    assert (await clerk.get(f"{PAGE}.png")).status_code == 404
    assert (await clerk.post(PAGE, {"code": "123456", "current_password": PASSWORD})).status_code == 404
    asked = options_of((await ask_new(clerk)).text)
    theirs = Device(tenant.host)
    saved = await save(clerk, theirs.make(asked))
    # No recovery codes are shown that would let nobody in.
    assert (saved.status_code, '<ul class="codes">' in saved.text) == (200, False)
    assert (await clerk.get("/addresses")).status_code == 200
    assert await log_in(world.browser(tenant.host), theirs) == 303

    # A lost device: the master takes the factor away, and the password lets in to make a new passkey.
    assert (await me.api("POST", f"/api/v1/users/{clerk_id}/remove-factor")).status_code == 200
    again = world.browser(tenant.host)
    assert (await again.post("/login", {"email": email, "password": PASSWORD})).headers["location"] == "/"
    assert (await again.get("/addresses")).headers["location"] == PAGE
    assert (await me.post("/settings/security", {"second_factor_for_all": "yes"})).status_code == 303
    lines = await one(world, tenant, "SELECT string_agg(after::text, ' ' ORDER BY number) FROM audit_entry "
                      "WHERE action = 'settings.security'")  # fmt: skip
    assert lines.count('"passkeys_only": true') == 1
    await run(world, tenant, "UPDATE account SET totp_step = 0; DELETE FROM login_throttle")
    last = world.browser(tenant.host)
    await last.log_in(tenant)
    assert await second_step(last, pyotp.TOTP(secret).now()) == 303


@pytest.mark.postgres
async def test_open_sessions_obey_at_once_and_the_master_stays_in(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    clerk, clerk_id, email = await member(world, tenant, me, "addresses:view")
    secret, _ = await switch_on(me)
    device, theirs = await add(me), await add(clerk)
    by_code = world.browser(tenant.host)
    await by_code.log_in(tenant)
    assert await second_step(by_code, await run_code(world, tenant, secret)) == 303
    token = (await by_code.api("POST", "/api/v1/tokens", json={"name": "x", "permissions": ["addresses:view"]})).json()

    # With a passkey in the account but not in this session, the master would log himself out.
    refused = await by_code.api("PUT", RULES, json={"second_factor_for_all": True, "passkeys_only": True})
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, "own_passkey_unused")
    page = await by_code.post("/settings/security", {"passkeys_only": "yes"})
    assert (page.status_code, "ご自分のパスキーでログイン" in page.text) == (422, True)
    assert (await by_code.get("/addresses")).status_code == 200

    # An account of which this session is the older one: a second browser by password, before there was a passkey.
    await run(world, tenant, f"UPDATE session SET by_passkey = false WHERE account_id = {clerk_id}")
    assert (await me.post("/settings/security", {"passkeys_only": "yes"})).status_code == 303
    assert (await me.get("/addresses")).status_code == 200, "the passkey was made in this session"
    for browser in (by_code, clerk):
        for path in ("/addresses", "/account", PAGE, "/settings/master"):
            answered = await browser.get(path)
            assert (answered.status_code, answered.headers["location"].split("?")[0]) == (303, "/login"), path
        shown = await browser.get("/login?next=/addresses")
        assert (shown.status_code, "パスキーでログインし直してください" in shown.text) == (200, True)
        answered = await browser.get("/api/v1/session")
        assert (answered.status_code, "パスキーでログインし直してください" in answered.json()["detail"]) == (401, True)
        proof = {"name": "鍵", "current_password": PASSWORD}
        assert (await browser.post("/account/passkeys/new", proof, page="/login")).status_code == 401
    outside = world.browser(tenant.host)
    bearer = {"Authorization": f"Bearer {token['secret']}"}
    assert (await outside.get("/api/v1/addresses", headers=bearer)).status_code == 200

    # Logged in again, they go on where they were; a new password does not ask a second time.
    assert await log_in(clerk, theirs) == 303
    assert (await clerk.get("/addresses")).status_code == 200
    new = PASSWORD + "2"
    form = {"current_password": PASSWORD, "password": new, "password_repeated": new}
    assert (await clerk.post("/account/password", form)).status_code == 303
    assert (await clerk.get("/addresses")).status_code == 200
    # A log-in that was half done when the rule came is finished with the passkey only.
    half = world.browser(tenant.host)
    answered = await half.post("/login", {"email": email, "password": new})
    assert answered.headers["location"].startswith("/login/second")
    assert await log_in(half, theirs, "/login/second/passkey") == 303
    assert (await half.get("/addresses")).status_code == 200

    # Nothing was thrown away: without the rule the session counts again.
    assert (await me.post("/settings/security", {"second_factor_for_all": "yes"})).status_code == 303
    assert (await by_code.get("/addresses")).status_code == 200
    assert await log_in(by_code, device) == 303


async def run_code(world: World, tenant: TenantDb, secret: str) -> str:
    """A code of the phone that counts though another one was used a moment ago."""
    await run(world, tenant, "UPDATE account SET totp_step = 0")
    return pyotp.TOTP(secret).now()


@pytest.mark.postgres
async def test_no_more_than_ten(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    device = Device(tenant.host, counts=False)
    await add(me, device)
    asked = options_of((await ask_new(me)).text)
    await run(
        world, tenant,
        "INSERT INTO passkey (account_id, name, credential_id, public_key, user_handle, sign_count, transports) "
        "SELECT account_id, 'n', int4send(n::int4), public_key, user_handle, 0, '{}' "
        "FROM passkey, generate_series(1, 9) n",
    )  # fmt: skip
    for refused in (await save(me, Device(tenant.host).make(asked)), await ask_new(me)):
        assert (refused.status_code, "10 個まで" in refused.text) == (422, True)
    # Without a counter it can be used again and again.
    for _ in range(2):
        assert await log_in(world.browser(tenant.host), device) == 303
