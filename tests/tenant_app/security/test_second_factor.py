"""The second factor: asked for, used once, held back, and demanded of all when the master says so."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta

import pyotp
import pytest
from elink_app.security import totp

from tests.tenant_app.people.support import actions, link_for, member, one, run
from tests.tenant_app.support import PASSWORD, Browser, World


@pytest.fixture
def world(narrow_world: World) -> World:
    """With one connection only: no step may need a second one."""
    return narrow_world


pytestmark = pytest.mark.postgres


async def switch_on(browser: Browser) -> tuple[str, list[str]]:
    """Do what the page says; the secret and the recovery codes."""
    page = (await browser.get("/account/second-factor")).text
    secret = re.search(r'<code class="secret">([A-Z2-7]{32})</code>', page)
    assert secret, page
    code = pyotp.TOTP(secret[1]).now()
    answer = await browser.post("/account/second-factor", {"code": code, "current_password": PASSWORD})
    assert answer.status_code == 200, answer.text
    codes = re.findall(r"<li><code>(\w{5}-\w{5})</code></li>", answer.text)
    assert len(set(codes)) == 10
    return secret[1], codes


async def first_step(world: World, host: str, email: str) -> Browser:
    browser = world.browser(host)
    answer = await browser.post("/login", {"email": email, "password": PASSWORD, "next": "/addresses"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login/second?next=%2Faddresses")
    return browser


async def second_step(browser: Browser, code: str) -> int:
    form = {"code": code, "next": "/addresses"}
    return (await browser.post("/login/second", form, page="/login/second")).status_code


async def test_the_password_alone_opens_nothing(world: World) -> None:
    tenant = await world.tenant()
    secret, _ = await switch_on(await world.master(tenant))
    browser = await first_step(world, tenant.host, tenant.master_email)
    assert (await browser.get("/addresses")).status_code == 303
    for path in ("/api/v1/session", "/api/v1/addresses", "/api/v1/users"):
        assert (await browser.get(path)).status_code == 401
    waiting = browser.cookie()
    # The code that switched it on counts no second time; the next one does, once.
    assert await second_step(browser, pyotp.TOTP(secret).now()) in (401, 303)
    await run(world, tenant, "UPDATE account SET totp_step = 0; DELETE FROM login_throttle")
    browser = await first_step(world, tenant.host, tenant.master_email)
    code = pyotp.TOTP(secret).now()
    assert await second_step(browser, code) == 303
    assert browser.cookie() not in (None, waiting)
    assert (await browser.get("/addresses")).status_code == 200
    other = await first_step(world, tenant.host, tenant.master_email)
    assert await second_step(other, code) == 401


async def test_a_recovery_code_works_once(world: World) -> None:
    tenant = await world.tenant()
    _, codes = await switch_on(await world.master(tenant))
    browsers = [await first_step(world, tenant.host, tenant.master_email) for _ in range(2)]
    given = codes[0].upper().replace("-", " ")
    statuses = await asyncio.gather(*(second_step(browser, given) for browser in browsers))
    assert sorted(statuses) == [303, 401]
    stored = await one(world, tenant, "SELECT string_agg(encode(code_sha256, 'hex'), ' ') FROM recovery_code")
    assert len(stored.split()) == 9
    assert all(code not in stored for code in codes)


async def test_guesses_are_held_back(world: World) -> None:
    tenant = await world.tenant()
    await switch_on(await world.master(tenant))
    browser = await first_step(world, tenant.host, tenant.master_email)
    statuses = [await second_step(browser, f"{number:06}") for number in range(6)]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    # Another browser and another log-in do not help.
    again = world.browser(tenant.host, address="198.51.100.1")
    assert (await again.post("/login", {"email": tenant.master_email, "password": PASSWORD})).status_code == 429


async def test_a_waiting_log_in_ends(world: World) -> None:
    tenant = await world.tenant()
    secret, _ = await switch_on(await world.master(tenant))
    await run(world, tenant, "UPDATE account SET totp_step = 0")
    browser = await first_step(world, tenant.host, tenant.master_email)
    minutes = await one(
        world, tenant,
        "SELECT extract(epoch FROM expires_at - created_at)::float8 / 60 FROM session WHERE awaits_factor",
    )  # fmt: skip
    assert minutes == 10
    await run(world, tenant, "UPDATE session SET expires_at = now() WHERE awaits_factor")
    answer = await browser.post("/login/second", {"code": pyotp.TOTP(secret).now()}, page="/login/second")
    assert answer.headers["location"].startswith("/login?")
    assert (await browser.get("/api/v1/session")).status_code == 401
    # Without any log-in there is nothing to finish either.
    assert (await world.browser(tenant.host).post("/login/second", {"code": "000000"})).status_code == 303


async def test_a_waiting_log_in_does_not_slip_past_a_new_password(world: World) -> None:
    tenant = await world.tenant()
    _, codes = await switch_on(await world.master(tenant))
    thief = await first_step(world, tenant.host, tenant.master_email)
    async with world.server.inside(tenant.database) as inside:
        change = inside.transaction()
        await change.start()
        await inside.execute("UPDATE account SET password_hash = 'another'; DELETE FROM session")
        step = asyncio.create_task(thief.post("/login/second", {"code": codes[0]}, page="/login/second"))
        await asyncio.wait([step], timeout=1)
        await change.commit()
        assert (await step).headers["location"].startswith("/login?")
        assert await inside.fetchval("SELECT count(*) FROM session") == 0


async def test_a_link_of_a_mail_does_not_go_around_it(world: World) -> None:
    tenant = await world.tenant()
    browser, _, email = await member(world, tenant, await world.master(tenant))
    await switch_on(browser)
    await world.browser(tenant.host).post("/login/forgotten", {"email": email}, page="/login/forgotten")
    new, fresh = "another long password 9", world.browser(tenant.host)
    form = {"token": await link_for(world, tenant, email), "password": new, "password_repeated": new}
    answer = await fresh.post("/welcome", form, page="/login")
    assert answer.headers["location"].startswith("/login/second")
    assert (await fresh.get("/api/v1/session")).status_code == 401


async def test_changes_need_the_password(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    await switch_on(master)
    for path in ("remove", "codes"):
        answer = await master.post(f"/account/second-factor/{path}", {"current_password": "wrong password"})
        assert answer.status_code == 422
    assert await one(world, tenant, "SELECT totp_secret IS NOT NULL FROM account")
    assert (await master.get("/account/second-factor.png")).status_code == 404
    answer = await master.post("/account/second-factor/remove", {"current_password": PASSWORD})
    assert answer.status_code == 303
    assert (await master.get("/account/second-factor.png")).headers["content-type"] == "image/png"
    assert await one(world, tenant, "SELECT count(*) FROM recovery_code") == 0
    assert (await actions(world, tenant))[-2:] == ["account.add_factor", "account.remove_factor"]


async def test_the_master_demands_it_of_all(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    browser, user_id, _ = await member(world, tenant, master, "addresses:view")
    made = await browser.api("POST", "/api/v1/tokens", json={"name": "x", "permissions": ["addresses:view"]})
    headers = {"Authorization": f"Bearer {made.json()['secret']}"}
    assert (await browser.post("/settings/security", {"second_factor_for_all": "yes"})).status_code == 403
    assert (await master.post("/settings/security", {"second_factor_for_all": "yes"})).status_code == 303
    answer = await browser.get("/addresses")
    assert (answer.status_code, answer.headers["location"]) == (303, "/account/second-factor")
    assert (await world.browser(tenant.host).get("/api/v1/addresses", headers=headers)).status_code == 403
    assert (await master.get("/")).headers["location"] == "/account/second-factor"
    await switch_on(browser)
    assert (await browser.get("/addresses")).status_code == 200
    assert (await world.browser(tenant.host).get("/api/v1/addresses", headers=headers)).status_code == 200
    # A lost phone: the master switches it off, and it must be set up again.
    await switch_on(master)
    assert (await master.post(f"/users/{user_id}/remove-factor")).status_code == 303
    assert (await browser.get("/addresses")).headers["location"] == "/account/second-factor"


def test_codes_of_the_step_before_and_after() -> None:
    now, secret = datetime(2026, 4, 1, 0, 0, 15, tzinfo=UTC), totp.new_secret()
    at = pyotp.TOTP(secret).at
    for seconds, accepted in ((-60, False), (-30, True), (0, True), (30, True), (60, False)):
        step = totp.step_of(secret, at(now + timedelta(seconds=seconds)), now)
        assert (step is not None) is accepted, seconds
    for wrong in ("", "12345", "1234567", "12345a", "１２３４５６", "-12345"):
        assert totp.step_of(secret, wrong, now) is None
