"""The master's place: offered, accepted once, withdrawn, over after 72 hours, and never in two hands."""

from __future__ import annotations

import asyncio
import re

import pytest

from tests.tenant_app.people.support import actions, invite, member, one, run
from tests.tenant_app.support import PASSWORD, Browser, World


@pytest.fixture
def world(narrow_world: World) -> World:
    """With one connection only: no step may need a second one."""
    return narrow_world


pytestmark = pytest.mark.postgres

PAGE = "/settings/master"


async def offer(master: Browser, to: object, password: str = PASSWORD) -> int:
    return (await master.post(PAGE, {"to": str(to), "current_password": password})).status_code


async def accept(browser: Browser, password: str = PASSWORD) -> int:
    return (await browser.post(f"{PAGE}/accept", {"current_password": password})).status_code


async def test_both_give_their_passwords_and_both_are_noted(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    heir, heir_id, email = await member(world, tenant, master)
    other, _, _ = await member(world, tenant, master, "users:manage")
    assert await offer(master, heir_id, "wrong password") == 422
    assert await one(world, tenant, "SELECT count(*) FROM master_offer") == 0
    assert await offer(master, heir_id) == 303
    text = await one(world, tenant, "SELECT text_body FROM outbox_mail WHERE kind = 'master-offer'")
    assert f"https://{tenant.host}{PAGE}" in text
    # Nobody else sees or takes it.
    assert (await other.get(PAGE)).status_code == 404
    assert await accept(other) == 404
    assert (await other.post(f"{PAGE}/end")).status_code == 404
    assert await accept(heir, "wrong password") == 422
    assert await accept(heir) == 303
    assert (await heir.get("/api/v1/session")).json()["is_master"]
    before = (await master.get("/api/v1/session")).json()
    assert (before["is_master"], before["permissions"]) == (False, [])
    assert await one(world, tenant, "SELECT email FROM account WHERE is_master") == email
    assert await accept(heir) == 404
    assert await accept(master) == 404
    assert [action for action in await actions(world, tenant) if action.startswith("master.")] == [
        "master.set_up", "master.offer", "master.accept",
    ]  # fmt: skip


async def test_a_wrong_password_does_not_change_whom_it_is_offered_to(world: World) -> None:
    """The second try would else go to the first of the list."""
    tenant = await world.tenant()
    master = await world.master(tenant)
    people = [(await member(world, tenant, master))[1] for _ in range(2)]
    for chosen in people:
        wrong = await master.post(PAGE, {"to": str(chosen), "current_password": "wrong password"})
        assert wrong.status_code == 422
        assert re.findall(r'<option value="(\d+)" selected>', wrong.text) == [str(chosen)]


async def test_many_acceptances_at_once(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    heir, heir_id, _ = await member(world, tenant, master)
    await offer(master, heir_id)
    statuses = await asyncio.gather(*(accept(heir) for _ in range(3)))
    assert sorted(statuses) == [303, 404, 404]
    assert await one(world, tenant, "SELECT count(*) FROM account WHERE is_master") == 1


async def test_withdrawn_declined_over(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    heir, heir_id, _ = await member(world, tenant, master)
    await offer(master, heir_id)
    assert (await master.post(f"{PAGE}/end")).status_code == 303
    assert await accept(heir) == 404
    await offer(master, heir_id)
    assert (await heir.post(f"{PAGE}/end")).status_code == 303
    assert (await heir.get(PAGE)).status_code == 404
    await offer(master, heir_id)
    hours = await one(
        world, tenant, "SELECT round(extract(epoch FROM expires_at - now())::numeric / 3600)::int FROM master_offer"
    )
    assert hours == 72
    await run(world, tenant, "UPDATE master_offer SET expires_at = now()")
    assert await accept(heir) == 404
    await offer(master, heir_id)
    master_id = await one(world, tenant, "SELECT id FROM account WHERE is_master")
    assert (await master.api("POST", f"/api/v1/users/{heir_id}/disable")).status_code == 200
    answer = await heir.post(f"{PAGE}/accept", {"current_password": PASSWORD}, page="/login")
    assert answer.status_code == 401
    assert await one(world, tenant, "SELECT id FROM account WHERE is_master") == master_id


async def test_only_to_an_active_user_and_only_by_the_master(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    browser, user_id, _ = await member(world, tenant, master, "users:manage")
    invited = await invite(master, "aya@user.example")
    master_id = await one(world, tenant, "SELECT id FROM account WHERE is_master")
    for to in (invited, master_id, 999999, 0, "", "x", "9" * 30):
        assert await offer(master, to) == 422, to
    assert await offer(browser, user_id) == 403
    assert await one(world, tenant, "SELECT count(*) FROM master_offer") == 0
