"""Log-in, lock-out, sessions: what works, and what gives nothing away."""

from __future__ import annotations

import asyncio
import hashlib
import html
import re
import statistics
import time
from datetime import timedelta

import httpx
import pytest
from elink_app.accounts import throttle
from elink_app.clock import utc_now

from tests.tenant_app.people.support import actions
from tests.tenant_app.support import ORIGIN_HEADERS, PASSWORD, Browser, World, read_token, setup_token

pytestmark = pytest.mark.postgres


async def test_log_in_and_out(world: World) -> None:
    tenant = await world.tenant()
    await world.master(tenant)
    browser = world.browser(tenant.host)
    assert (await browser.get("/addresses?q=x")).headers["location"] == "/login?next=/addresses%3Fq%3Dx"
    answer = await browser.post(
        "/login", {"email": tenant.master_email.upper(), "password": PASSWORD, "next": "/addresses?q=x"}
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/addresses?q=x")
    cookie = next(line for line in answer.headers.get_list("set-cookie") if line.startswith("__Host-elink-session="))
    for part in ("Secure", "HttpOnly", "SameSite=lax", "Path=/"):
        assert part in cookie
    assert "Domain" not in cookie
    assert (await browser.get("/")).status_code == 200
    secret = browser.cookie()
    assert (await browser.post("/logout")).headers["location"] == "/login?notice=logged-out"
    browser.client.cookies.set("__Host-elink-session", secret or "", domain=tenant.host)
    assert (await browser.get("/")).status_code == 303


async def test_the_secret_is_kept_as_a_hash_only(world: World) -> None:
    tenant = await world.tenant()
    browser = await world.master(tenant)
    secret = browser.cookie() or ""
    async with world.server.inside(tenant.database) as inside:
        assert await inside.fetchval("SELECT secret_sha256 FROM session") == hashlib.sha256(secret.encode()).digest()


async def test_wrong_password_and_unknown_account_look_the_same(world: World) -> None:
    tenant = await world.tenant()
    await world.master(tenant)
    pages = []
    for email in (tenant.master_email, "nobody@example.jp"):
        answer = await world.browser(tenant.host).post("/login", {"email": email, "password": "wrong password"})
        assert answer.status_code == 401
        pages.append(len(answer.text.replace(email, "")))
        assert "wrong password" not in answer.text
    # The token and the request id have fixed lengths.
    assert pages[0] == pages[1]


async def test_unknown_accounts_take_as_long(world: World) -> None:
    tenant = await world.tenant()
    await world.master(tenant)

    async def seconds(email: str, number: int) -> float:
        browser = world.browser(tenant.host, address=f"198.51.100.{number}")
        token = await browser.token()
        started = time.process_time()
        await browser.client.post(
            "/login",
            data={"csrf_token": token, "email": email, "password": "wrong password"},
            headers={"Sec-Fetch-Site": "same-origin"},
        )
        return time.process_time() - started

    known = [await seconds(tenant.master_email, n) for n in range(1, 5)]
    unknown = [await seconds(f"nobody{n}@example.jp", n + 10) for n in range(1, 5)]
    # Processor time, which other work on the machine does not lengthen. The hash dominates: without the one for
    # nobody the ratio would be about 0.1.
    assert statistics.median(unknown) > statistics.median(known) * 0.4


@pytest.mark.parametrize("exists", [True, False])
async def test_an_account_name_is_held_back_after_five_failures(world: World, exists: bool) -> None:
    tenant = await world.tenant()
    await world.master(tenant)
    email = tenant.master_email if exists else "nobody@example.jp"

    async def attempt(number: int, password: str = "wrong password") -> int:  # noqa: S107
        browser = world.browser(tenant.host, address=f"198.51.100.{number}")
        return (await browser.post("/login", {"email": email, "password": password})).status_code

    assert [await attempt(n) for n in range(5)] == [401] * 5
    browser = world.browser(tenant.host, address="198.51.100.77")
    answer = await browser.post("/login", {"email": email, "password": PASSWORD})
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= throttle.FIRST_WAIT.total_seconds()
    async with world.server.inside(tenant.database) as inside:
        await inside.execute("UPDATE login_throttle SET blocked_until = now() - interval '1 second'")
        stored = str(await inside.fetch("SELECT key FROM login_throttle"))
        assert email not in stored
    if exists:
        assert await attempt(78, PASSWORD) == 303
        assert await attempt(79) == 401
    else:
        # One more failure doubles the wait.
        assert await attempt(78) == 401
        again = await world.browser(tenant.host, "198.51.100.80").post("/login", {"email": email, "password": "x"})
        assert int(again.headers["retry-after"]) > throttle.FIRST_WAIT.total_seconds()


async def test_one_address_trying_many_names_is_held_back(world: World) -> None:
    tenant = await world.tenant()
    browser = world.browser(tenant.host, address="198.51.100.1")
    codes = [
        (await browser.post("/login", {"email": f"n{n}@example.jp", "password": "wrong password"})).status_code
        for n in range(throttle.ADDRESS_TRIES + 1)
    ]
    assert codes == [401] * throttle.ADDRESS_TRIES + [429]
    other = world.browser(tenant.host, address="198.51.100.2")
    assert (await other.post("/login", {"email": "n@example.jp", "password": "x"})).status_code == 401


async def test_an_office_behind_one_address_is_not_locked_out_by_the_slips_of_weeks(world: World) -> None:
    """People who come and go all day keep the address known; their slips are forgotten all the same."""
    tenant = await world.tenant()
    await world.master(tenant)
    key = throttle.address_key("198.51.100.1")
    async with world.server.inside(tenant.database) as inside:
        for slip in range(throttle.ADDRESS_TRIES + 5):
            # Half an hour passes in steps too small to forget anything, with somebody logging in at each.
            for _ in range(3):
                await inside.execute(
                    "UPDATE login_throttle SET last_attempt_at = last_attempt_at - interval '10 minutes', "
                    "blocked_until = NULL"
                )
                person = world.browser(tenant.host, address="198.51.100.1")
                assert (await person.log_in(tenant)).status_code == 303, slip
            answer = await person.post("/login", {"email": f"n{slip}@example.jp", "password": "slip"}, page="/account")
            assert answer.status_code == 401
            assert await inside.fetchval("SELECT failures FROM login_throttle WHERE key = $1", key) <= 2, slip


async def test_who_guesses_for_hours_gets_one_attempt_in_the_longest_wait(world: World) -> None:
    tenant = await world.tenant()
    browser = world.browser(tenant.host, address="198.51.100.1")
    answers = 0
    async with world.server.inside(tenant.database) as inside:
        # Ten hours, a guess at another name every five minutes.
        for number in range(120):
            await inside.execute(
                "UPDATE login_throttle SET last_attempt_at = last_attempt_at - interval '5 minutes', "
                "blocked_until = blocked_until - interval '5 minutes'"
            )
            email = f"n{number}@example.jp"
            answers += (await browser.post("/login", {"email": email, "password": "x"})).status_code == 401
    assert answers <= throttle.ADDRESS_TRIES + 10 + timedelta(hours=10) / throttle.LONGEST_WAIT


async def test_attempts_at_the_same_time_count_too(world: World) -> None:
    tenant = await world.tenant()
    await world.master(tenant)

    async def attempt(number: int) -> int:
        browser = world.browser(tenant.host, address=f"198.51.100.{number}")
        return (await browser.post("/login", {"email": tenant.master_email, "password": "wrong"})).status_code

    codes = await asyncio.gather(*(attempt(n) for n in range(12)))
    assert sorted(codes)[:1] == [401]
    assert codes.count(401) <= throttle.ACCOUNT_TRIES
    async with world.server.inside(tenant.database) as inside:
        failures = await inside.fetchval("SELECT failures FROM login_throttle WHERE key LIKE 'a:%'")
    assert failures == codes.count(401)


async def test_a_new_session_at_every_log_in(world: World) -> None:
    """No fixation: a secret that was in the browser before does not become the session's, and dies."""
    tenant = await world.tenant()
    browser = await world.master(tenant)
    first = browser.cookie()
    await browser.log_in(tenant)
    second = browser.cookie()
    assert first != second
    thief = world.browser(tenant.host)
    thief.client.cookies.set("__Host-elink-session", first or "", domain=tenant.host)
    assert (await thief.get("/")).status_code == 303
    planted = world.browser(tenant.host)
    planted.client.cookies.set("__Host-elink-session", "A" * 43, domain=tenant.host)
    await planted.log_in(tenant)
    assert planted.cookie() != "A" * 43


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE session SET last_seen_at = now() - interval '2 hours 1 second'",
        "UPDATE session SET expires_at = now()",
        "UPDATE account SET disabled_at = now()",
    ],
)
async def test_sessions_end(world: World, change: str) -> None:
    tenant = await world.tenant()
    browser = await world.master(tenant)
    assert (await browser.get("/")).status_code == 200
    async with world.server.inside(tenant.database) as inside:
        await inside.execute(change)
    assert (await browser.get("/")).status_code == 303
    assert (await browser.get("/api/v1/session")).status_code == 401


async def test_use_keeps_a_session_alive(world: World) -> None:
    tenant = await world.tenant()
    browser = await world.master(tenant)
    async with world.server.inside(tenant.database) as inside:
        await inside.execute("UPDATE session SET last_seen_at = now() - interval '1 hour'")
        await browser.get("/")
        assert await inside.fetchval("SELECT now() - last_seen_at FROM session") < timedelta(minutes=1)


async def test_more_people_than_connections_come_back_from_a_rest(world: World) -> None:
    """Each of them holds a connection while his session is looked up: nobody may need a second one to go on."""
    tenant = await world.tenant()
    people = [await world.master(tenant)]
    for number in range(2 * world.server.settings.db_pool_size):
        people.append(world.browser(tenant.host, address=f"198.51.100.{number}"))
        assert (await people[-1].log_in(tenant)).status_code == 303
    async with world.server.inside(tenant.database) as inside:
        await inside.execute("UPDATE session SET last_seen_at = now() - interval '5 minutes'")
        answers = await asyncio.gather(*(person.get("/account") for person in people))
        assert [answer.status_code for answer in answers] == [200] * len(people)
        assert await inside.fetchval("SELECT max(now() - last_seen_at) FROM session") < timedelta(minutes=1)


async def test_sessions_are_listed_and_revoked(world: World) -> None:
    tenant = await world.tenant()
    here = await world.master(tenant)
    there = world.browser(tenant.host, address="198.51.100.9")
    await there.log_in(tenant, **{"User-Agent": "Firefox <b>on</b> Windows"})
    page = (await here.get("/account")).text
    assert "198.51.100.9" in page
    assert "Firefox &lt;b&gt;on&lt;/b&gt; Windows" in page
    async with world.server.inside(tenant.database) as inside:
        other = await inside.fetchval("SELECT id FROM session WHERE address = '198.51.100.9'")
    assert (await here.post(f"/account/sessions/{other}/revoke")).status_code == 303
    assert (await there.get("/")).status_code == 303
    assert (await here.get("/")).status_code == 200
    assert (await here.post(f"/account/sessions/{other}/revoke")).status_code == 404
    third = world.browser(tenant.host)
    await third.log_in(tenant)
    await here.post("/account/sessions/revoke-others")
    assert (await third.get("/")).status_code == 303
    assert (await here.get("/")).status_code == 200
    # Whoever took a session over and locked its owner out would be found in the log; a press without effect is no line.
    await here.post("/account/sessions/revoke-others")
    ended = [action for action in await actions(world, tenant) if action.startswith("account.end")]
    assert ended == ["account.end_session", "account.end_sessions"]


async def test_another_accounts_session_cannot_be_revoked(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    async with world.server.inside(tenant.database) as inside:
        account = await inside.fetchval(
            "INSERT INTO account (email, email_key, password_hash) VALUES ('u@x.jp', 'u@x.jp', 'x') RETURNING id"
        )
        session = await inside.fetchval(
            "INSERT INTO session (secret_sha256, account_id, expires_at) VALUES ('x', $1, $2) RETURNING id",
            account,
            utc_now() + timedelta(hours=1),
        )
        assert (await master.post(f"/account/sessions/{session}/revoke")).status_code == 404
        assert await inside.fetchval("SELECT count(*) FROM session WHERE id = $1", session) == 1


async def test_change_of_password_ends_the_other_sessions(world: World) -> None:
    tenant = await world.tenant()
    here, there = await world.master(tenant), world.browser(tenant.host)
    await there.log_in(tenant)
    new = {"password": "a brand new sentence", "password_repeated": "a brand new sentence"}
    refused = await here.post("/account/password", {"current_password": "wrong", **new})
    assert refused.status_code == 422
    assert "現在のパスワードが違います" in refused.text
    before = here.cookie()
    assert (await here.post("/account/password", {"current_password": PASSWORD, **new})).status_code == 303
    assert here.cookie() != before
    assert (await here.get("/")).status_code == 200
    assert (await there.get("/")).status_code == 303
    assert (await world.browser(tenant.host).log_in(tenant)).status_code == 401
    assert (await world.browser(tenant.host).log_in(tenant, new["password"])).status_code == 303


async def test_no_log_in_with_the_old_password_slips_past_a_change(world: World) -> None:
    """The change ends the sessions that are there; a log-in under way must not add one behind it."""
    tenant = await world.tenant()
    await world.master(tenant)
    thief = world.browser(tenant.host)
    async with world.server.inside(tenant.database) as inside:
        change = inside.transaction()
        await change.start()
        await inside.execute("UPDATE account SET password_hash = 'another'; DELETE FROM session")
        log_in = asyncio.create_task(thief.log_in(tenant))
        await asyncio.wait([log_in], timeout=1)
        await change.commit()
        assert (await log_in).status_code == 401
        assert await inside.fetchval("SELECT count(*) FROM session") == 0


@pytest.mark.parametrize(
    "wanted",
    ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:x()", "/\r\nSet-Cookie: a=b", "\t/x"],
)
async def test_log_in_leads_nowhere_else(world: World, wanted: str) -> None:
    tenant = await world.tenant()
    await world.master(tenant)
    browser = world.browser(tenant.host)
    answer = await browser.post("/login", {"email": tenant.master_email, "password": PASSWORD, "next": wanted})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    language = await browser.post("/language", {"language": "en", "next": wanted})
    assert language.headers["location"] == "/"


async def test_the_choice_of_language_leads_back_to_the_same_page(world: World) -> None:
    """Also from a link of a mail, whose token is in the address, and from the answer to a form."""
    tenant = await world.tenant()

    async def chosen(page: httpx.Response, who: Browser) -> httpx.Response:
        found = re.search(r'class="language">.*?name="next" value="([^"]*)"', page.text, re.DOTALL)
        assert found, page.text
        form = {"csrf_token": read_token(page.text), "language": "en", "next": html.unescape(found[1])}
        answer = await who.client.post("/language", data=form, headers=ORIGIN_HEADERS)
        return await who.get(answer.headers["location"])

    guest = world.browser(tenant.host)
    link = f"/setup?token={setup_token(tenant.name)}"
    for page in (await guest.get(link), await guest.post("/setup", {"token": setup_token(tenant.name)}, page=link)):
        assert 'name="password"' in (await chosen(page, guest)).text
        guest.client.cookies.delete("__Host-elink-language")
    me = await world.master(tenant)
    one, two = [(await me.api("POST", "/api/v1/addresses", json={"name": "同じ人"})).json()["id"] for _ in range(2)]
    for page in (
        await me.get("/consents?email=a@x.jp&notice=saved"),
        await me.post("/consents", {"email": "a@x.jp", "kind": "none"}),
        await me.get(f"/duplicates/merge?id={one}&id={two}"),
        await me.post("/account/password", {"password": "short"}),
        await me.post("/settings/attributes", {"key": "1"}),
        await me.post("/settings/attributes/9", {"label": "x"}),
        await me.post("/templates/images", {}, **{"Content-Type": "application/x-www-form-urlencoded"}),
        await me.post("/account/passkeys/new", {"name": ""}),
    ):
        shown = await chosen(page, me)
        assert (shown.status_code, 'lang="en"' in shown.text) == (200, True), (page.request.url, shown.url, shown.text)
        assert "Saved." not in shown.text


async def test_an_account_without_permissions_sees_no_addresses(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    await master.api("POST", "/api/v1/addresses", json={"name": "秘密の人"})
    async with world.server.inside(tenant.database) as inside:
        await inside.execute("UPDATE account SET is_master = false")
    assert "秘密の人" not in (await master.get("/")).text
    for path in ("/addresses", "/addresses/1", "/addresses/new", "/addresses/deleted"):
        answer = await master.get(path)
        assert (path, answer.status_code) == (path, 403)
        assert "秘密の人" not in answer.text
    assert (await master.get("/api/v1/addresses")).json()["type"].endswith("/forbidden")
    for method, path in (("POST", ""), ("PUT", "/1"), ("DELETE", "/1"), ("POST", "/1/restore")):
        body = {"json": {"name": "x"}} if method in ("POST", "PUT") else {}
        assert (await master.api(method, f"/api/v1/addresses{path}", **body)).status_code == 403
