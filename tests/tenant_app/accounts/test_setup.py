"""The master account by a link that works once."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from tests.tenant_app.people.support import accept, link_for, member
from tests.tenant_app.support import PASSWORD, World, setup_token

pytestmark = pytest.mark.postgres


async def test_link_makes_the_master_and_logs_in(world: World) -> None:
    tenant = await world.tenant()
    browser = world.browser(tenant.host)
    page = await browser.get(f"/setup?token={setup_token(tenant.name)}")
    assert page.status_code == 200
    assert tenant.master_email in page.text
    answer = await browser.set_up(tenant)
    assert (answer.status_code, answer.headers["location"]) == (303, "/?notice=welcome")
    dashboard = await browser.get("/?notice=welcome")
    assert dashboard.status_code == 200
    assert "ようこそ" in dashboard.text
    async with world.server.inside(tenant.database) as inside:
        row = await inside.fetchrow("SELECT email, is_master, password_hash FROM account")
        assert row["email"] == tenant.master_email
        assert row["is_master"]
        assert row["password_hash"].startswith("$argon2id$")
        assert await inside.fetchval("SELECT token_sha256 FROM used_setup_token") == tenant.setup_token_sha256


async def test_looking_at_the_link_uses_nothing_up(world: World) -> None:
    tenant = await world.tenant()
    for _ in range(3):
        assert (await world.browser(tenant.host).get(f"/setup?token={setup_token(tenant.name)}")).status_code == 200
    assert (await world.browser(tenant.host).set_up(tenant)).status_code == 303


async def test_second_use_is_refused(world: World) -> None:
    tenant = await world.tenant()
    await world.master(tenant)
    other = world.browser(tenant.host)
    page = await other.get(f"/setup?token={setup_token(tenant.name)}")
    assert page.status_code == 410
    assert "使用済み" in page.text
    answer = await other.post(
        "/setup",
        {"token": setup_token(tenant.name), "password": "another long password", "password_repeated": "x"},
        page="/login",
    )
    assert answer.status_code == 410
    assert (await other.log_in(tenant, "another long password")).status_code == 401
    assert (await other.log_in(tenant)).status_code == 303


async def test_ten_posts_at_once_make_one_master(world: World) -> None:
    tenant = await world.tenant()
    answers = await asyncio.gather(*(world.browser(tenant.host).set_up(tenant) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [303] + [410] * 9
    async with world.server.inside(tenant.database) as inside:
        assert await inside.fetchval("SELECT count(*) FROM account") == 1


async def test_expired_link(world: World) -> None:
    tenant = await world.tenant(setup_expires_at=datetime.now(tz=UTC) - timedelta(seconds=1))
    browser = world.browser(tenant.host)
    assert "期限切れ" in (await browser.get(f"/setup?token={setup_token(tenant.name)}")).text
    assert (await browser.post("/setup", {"token": setup_token(tenant.name), "password": PASSWORD})).status_code == 410


@pytest.mark.parametrize("token", ["", "x", "é\ud83d", "A" * 4000, "' OR 1=1 --"])
async def test_wrong_tokens_learn_nothing(world: World, token: str) -> None:
    tenant = await world.tenant()
    token = token.encode("utf-8", "replace").decode()
    browser = world.browser(tenant.host)
    page = await browser.client.get("/setup", params={"token": token})
    assert page.status_code == 404
    assert tenant.master_email not in page.text
    assert (await browser.post("/setup", {"token": token, "password": PASSWORD})).status_code == 404


async def test_link_of_another_tenant_is_worthless(world: World) -> None:
    mine, other = await world.tenant(), await world.tenant()
    browser = world.browser(mine.host)
    assert (await browser.get(f"/setup?token={setup_token(other.name)}")).status_code == 404
    answer = await browser.post(
        "/setup", {"token": setup_token(other.name), "password": PASSWORD, "password_repeated": PASSWORD}
    )
    assert answer.status_code == 404
    async with world.server.inside(mine.database) as inside:
        assert await inside.fetchval("SELECT count(*) FROM account") == 0
    # And it still works where it belongs.
    assert (await world.browser(other.host).set_up(other)).status_code == 303


async def test_tenant_without_link_accepts_no_token(world: World) -> None:
    tenant = await world.tenant(setup_token_sha256="", setup_expires_at=None)
    for token in ("", "-" * 64):
        assert (await world.browser(tenant.host).get(f"/setup?token={token}")).status_code == 404


@pytest.mark.parametrize(
    ("password", "repeated", "code"),
    [
        ("short", "short", "12 文字以上"),
        ("password1234", "password1234", "推測されやすい"),
        ("aaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaa", "推測されやすい"),
        ("abcabcabcabcabc", "abcabcabcabcabc", "推測されやすい"),
        ("a good long password", "a good long passwort", "一致しません"),
        ("a good\x07 long password", "a good\x07 long password", "制御文字"),
        ("x1" * 200, "x1" * 200, "256 文字以内"),
    ],
)
async def test_weak_passwords_are_refused_and_the_link_stays_good(
    world: World, password: str, repeated: str, code: str
) -> None:
    tenant = await world.tenant()
    browser = world.browser(tenant.host)
    answer = await browser.post(
        "/setup", {"token": setup_token(tenant.name), "password": password, "password_repeated": repeated}
    )
    assert answer.status_code == 422
    assert code in answer.text
    assert password not in answer.text
    assert (await browser.set_up(tenant)).status_code == 303


async def test_new_link_gives_a_new_password_and_ends_sessions(world: World) -> None:
    tenant = await world.tenant()
    old = await world.master(tenant)
    changed = await world.change(tenant, setup_token_sha256=hashlib.sha256(b"second").hexdigest())
    fresh = world.browser(tenant.host)
    answer = await fresh.post(
        "/setup", {"token": "second", "password": "quite another phrase", "password_repeated": "quite another phrase"}
    )
    assert answer.status_code == 303
    assert (await old.get("/")).status_code == 303
    assert (await world.browser(tenant.host).log_in(changed)).status_code == 401
    assert (await world.browser(tenant.host).log_in(changed, "quite another phrase")).status_code == 303


async def test_new_link_leaves_the_person_before_no_way_in(world: World) -> None:
    """The provider gives the place to another person: who had it keeps no token, no link and no offer."""
    tenant = await world.tenant()
    old = await world.master(tenant)
    made = await old.api("POST", "/api/v1/tokens", json={"name": "x", "permissions": ["users:manage"]})
    friend, friend_id, _ = await member(world, tenant, old)
    offer = {"to": str(friend_id), "current_password": PASSWORD}
    assert (await old.post("/settings/master", offer)).status_code == 303
    await world.browser(tenant.host).post("/login/forgotten", {"email": tenant.master_email})
    link = await link_for(world, tenant, tenant.master_email)
    token = hashlib.sha256(b"second").hexdigest()
    await world.change(tenant, setup_token_sha256=token, master_email="new@example.jp")
    new = world.browser(tenant.host)
    password = "quite another phrase"
    answer = await new.post("/setup", {"token": "second", "password": password, "password_repeated": password})
    assert answer.status_code == 303
    program = world.browser(tenant.host)
    bearer = {"Authorization": f"Bearer {made.json()['secret']}"}
    assert (await program.get("/api/v1/users", headers=bearer)).status_code == 401
    assert (await accept(world, tenant, link, "back by the old mailbox"))[1] == 410
    assert (await friend.post("/settings/master/accept", {"current_password": PASSWORD})).status_code == 404
    session = (await new.get("/api/v1/session")).json()
    assert (session["email"], session["is_master"]) == ("new@example.jp", True)
