"""A forgotten password: one answer for everybody, one link, one use."""

from __future__ import annotations

import re

import pytest

from tests.tenant_app.people.support import accept, invite, link_for, member, one, run
from tests.tenant_app.support import PASSWORD, Browser, World

pytestmark = pytest.mark.postgres

NEW = "another long password 9"


async def ask(browser: Browser, email: str) -> tuple[int, str]:
    answer = await browser.post("/login/forgotten", {"email": email}, page="/login/forgotten")
    # The token of the form and the id of the request differ from one answer to the next.
    return answer.status_code, re.sub(r'value="[\w-]{43}"', "", answer.text)


async def test_known_and_unknown_get_the_same_answer(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    _, _, email = await member(world, tenant, master)
    _, stopped, stopped_email = await member(world, tenant, master)
    await master.api("POST", f"/api/v1/users/{stopped}/disable")
    await invite(master, "invited@user.example")
    await run(world, tenant, "DELETE FROM outbox_mail")
    emails = (email, "nobody@user.example", stopped_email, "invited@user.example", "", "x" * 5000, "a\x00b@c.example")
    answers = {await ask(world.browser(tenant.host), given) for given in emails}
    assert len(answers) == 1
    assert answers.pop()[0] == 200
    # Only the one who can use it got a mail.
    assert await one(world, tenant, "SELECT string_agg(recipient, ',') FROM outbox_mail") == email


async def test_the_answer_is_sent_before_anything_is_looked_up(world: World) -> None:
    """So neither its time nor a failure of the lookup tells whether there is such an account."""
    tenant = await world.tenant()
    await world.master(tenant)
    browser = world.browser(tenant.host)
    token = await browser.token("/login/forgotten")
    await run(world, tenant, "ALTER TABLE account RENAME TO account_away")
    form = {"csrf_token": token, "email": tenant.master_email}
    answer = await browser.client.post("/login/forgotten", data=form, headers={"Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == 200


async def test_the_link_works_once_and_ends_sessions(world: World) -> None:
    tenant = await world.tenant()
    browser, _, email = await member(world, tenant, await world.master(tenant))
    await ask(world.browser(tenant.host), email)
    token = await link_for(world, tenant, email)
    # Flooding a mailbox through us does not work, and the link stays good.
    await ask(world.browser(tenant.host), email)
    assert await link_for(world, tenant, email) == token
    same, status = await accept(world, tenant, token, PASSWORD)
    assert status == 422
    assert (await accept(world, tenant, token, "short"))[1] == 422
    assert (await browser.get("/api/v1/session")).status_code == 200
    fresh, status = await accept(world, tenant, token, NEW)
    assert status == 303
    assert (await fresh.get("/api/v1/session")).json()["email"] == email
    assert (await browser.get("/api/v1/session")).status_code == 401
    assert (await accept(world, tenant, token, "yet another password 7"))[1] == 410
    assert (await same.post("/login", {"email": email, "password": PASSWORD}, page="/login")).status_code == 401
    # He is told of it by mail, without a link.
    text = await one(world, tenant, "SELECT text_body FROM outbox_mail ORDER BY id DESC LIMIT 1")
    assert "変更されました" in text
    assert "https://" not in text


async def test_two_hours(world: World) -> None:
    tenant = await world.tenant()
    await world.master(tenant)
    await ask(world.browser(tenant.host), tenant.master_email)
    token = await link_for(world, tenant, tenant.master_email)
    hours = await one(
        world, tenant, "SELECT extract(epoch FROM expires_at - created_at)::float8 / 3600 FROM account_link"
    )
    assert hours == 2
    await run(world, tenant, "UPDATE account_link SET expires_at = now()")
    assert (await accept(world, tenant, token, NEW))[1] == 410


async def test_requests_are_held_back_per_network_address(world: World) -> None:
    tenant = await world.tenant()
    await world.master(tenant)
    browser = world.browser(tenant.host, address="198.51.100.9")
    statuses = [(await ask(browser, f"nobody{number}@user.example"))[0] for number in range(22)]
    assert statuses[:19] == [200] * 19
    assert statuses[-1] == 429
    assert (await ask(world.browser(tenant.host, address="198.51.100.10"), "nobody@user.example"))[0] == 200


async def test_the_host_of_the_link_is_not_the_requests(world: World) -> None:
    tenant = await world.tenant()
    await world.master(tenant)
    browser = world.browser(tenant.host)
    token = await browser.token("/login/forgotten")
    headers = {"Sec-Fetch-Site": "same-origin", "Host": f"{tenant.host}:6666", "X-Forwarded-Host": "evil.example"}
    form = {"csrf_token": token, "email": tenant.master_email}
    assert (await browser.client.post("/login/forgotten", data=form, headers=headers)).status_code == 200
    text = await one(world, tenant, "SELECT text_body FROM outbox_mail")
    assert "evil.example" not in text
    assert f"https://{tenant.host}/welcome?token=" in text
