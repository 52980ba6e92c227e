"""What must hold for every route, taken from the table of routes: a new one is covered without a line here."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from tests.tenant_app.hostile.routes import routes
from tests.tenant_app.support import (
    ORIGIN_HEADERS,
    PASSWORD,
    Browser,
    Server,
    World,
    make_settings,
    running_world,
)

pytestmark = pytest.mark.postgres

# Whoever comes without a log-in gets these: nothing of a tenant's but its name and the pictures of its mails.
OPEN = {
    ("GET", "/login"), ("POST", "/login"), ("GET", "/login/second"), ("POST", "/login/second"), ("POST", "/logout"),
    ("GET", "/setup"), ("POST", "/setup"), ("POST", "/language"), ("GET", "/welcome"), ("POST", "/welcome"),
    ("GET", "/login/forgotten"), ("POST", "/login/forgotten"), ("GET", "/unsubscribe/{token}"),
    ("POST", "/unsubscribe/{token}"), ("GET", "/files/img/{name}"), ("GET", "/l/{token}"),
    ("HEAD", "/l/{token}"),
    ("POST", "/login/passkey/start"), ("POST", "/login/second/passkey"), ("POST", "/login/passkey"),
}  # fmt: skip


def filled(path: str) -> str:
    """The path with a number in place of every parameter."""
    return re.sub(r"{[^}]*}", "1", path)


def body(method: str, path: str, token: str) -> dict[str, object]:
    """What an unsafe call must bring along to be looked at."""
    if method == "GET":
        return {}
    headers = {**ORIGIN_HEADERS, "X-CSRF-Token": token}
    if path.startswith("/api/"):
        return {"json": {"name": "x"}, "headers": headers}
    return {"data": {"name": "x", "csrf_token": token}, "headers": headers}


async def counted(server: Server, database: str) -> dict[str, int]:
    """How many rows each table of a tenant has; log-in attempts may be counted."""
    async with server.inside(database) as db:
        names = await db.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = [row["tablename"] for row in names if row["tablename"] not in ("login_throttle",)]
        return {table: await db.fetchval(f'SELECT count(*) FROM "{table}"') for table in tables}


async def refused_everywhere(browser: Browser, token: str, headers: dict[str, str]) -> list[tuple[str, str, int]]:
    """Calls of every route that is not open which were answered with anything but a refusal."""
    wrong = []
    for method, path in routes():
        if (method, path) in OPEN:
            continue
        options = body(method, path, token)
        options["headers"] = {**headers, **options.get("headers", {})}  # type: ignore[dict-item]
        answer = await browser.client.request(method, filled(path), **options)
        to_login = answer.status_code == 303 and answer.headers["location"].startswith("/login")
        if not (answer.status_code in (401, 403) or (method == "GET" and to_login)):
            wrong.append((method, path, answer.status_code))
    return wrong


async def test_nobody_and_strangers_are_refused_everywhere(world: World) -> None:
    mine, other = await world.tenant(), await world.tenant()
    me, they = await world.master(mine), await world.master(other)
    await they.api("POST", "/api/v1/addresses", json={"name": "秘密", "tags": ["極秘"]})
    made = await me.api("POST", "/api/v1/tokens", json={"name": "x", "permissions": ["addresses:view"], "days": 1})
    assert made.status_code == 201, made.text
    bearer = {"Authorization": f"Bearer {made.json()['secret']}"}
    before = await counted(world.server, other.database)
    assert len(routes()) > 150

    stranger = world.browser(other.host)
    token = await stranger.token()
    assert await refused_everywhere(stranger, token, {}) == []

    # The session and the token of one tenant at the host of another, in every way to name it.
    mine_token = (await me.get("/api/v1/session")).json()["csrf_token"]
    assert await refused_everywhere(me, mine_token, {"Host": other.host}) == []
    thief = world.browser(other.host)
    thief.client.cookies.set("__Host-elink-session", me.cookie() or "", domain=other.host)
    assert await refused_everywhere(thief, mine_token, {}) == []
    without_cookies = world.browser(other.host)
    assert await refused_everywhere(without_cookies, "x", bearer) == []
    assert await counted(world.server, other.database) == before


async def test_pages_of_every_route_hold_the_policy_with_one_connection(narrow_world: World) -> None:
    me = await narrow_world.master(await narrow_world.tenant())
    pages = 0
    for method, path in routes():
        if method != "GET":
            continue
        answer = await me.get(filled(path))
        where = (path, answer.status_code)
        assert answer.status_code < 500, where
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy, where
        assert "unsafe" not in policy, where
        assert answer.headers["x-content-type-options"] == "nosniff", where
        if answer.headers.get("content-type", "").startswith("text/html"):
            pages += 1
            assert not re.search(r"<[^>]+\s(style|on[a-z]+)=", answer.text), where
            assert "<style" not in answer.text, where
            assert not re.search(r"<script(?![^>]*\ssrc=)", answer.text), where
    assert pages > 40


@pytest.mark.parametrize("connections", [1, 2])
async def test_more_requests_than_connections_are_all_answered(
    server: Server, tmp_path: Path, connections: int
) -> None:
    """Each asks twice, for who it is and for what it does. None holds one connection while it waits for another:
    the wait is so long that whoever did would be found by the end of this one."""
    settings = make_settings(server.postgres, tmp_path, db_pool_size=connections, db_pool_timeout=120.0)
    async with running_world(Server(server.postgres, settings)) as world:
        tenant = await world.tenant()
        me = await world.master(tenant)
        made = await me.api("POST", "/api/v1/tokens", json={"name": "x", "permissions": ["addresses:view"], "days": 1})
        bearer = {"Authorization": f"Bearer {made.json()['secret']}"}
        program, token = world.browser(tenant.host), await me.token("/account")
        sent = {"headers": ORIGIN_HEADERS, "data": {"csrf_token": token, "name": "山田", "key": "k", "label": "l"}}
        file = {"headers": ORIGIN_HEADERS, "data": {"csrf_token": token}, "files": {"file": ("a.csv", b"a\r\n")}}
        passed = {"current_password": PASSWORD, "password": "いろは correct horse 2", "password_repeated": "x"}
        async with asyncio.timeout(60):
            answers = await asyncio.gather(
                *(me.get(path) for path in ("/", "/addresses", "/tags", "/account", "/api/v1/dashboard") * 2),
                *(program.get("/api/v1/addresses", headers=bearer) for _ in range(3)),
                *(me.client.post(path, **sent) for path in ("/addresses", "/tags", "/account/tokens") * 2),
                *(me.client.post("/imports", **file) for _ in range(3)),
                *(me.client.post("/account/password", **{**sent, "data": {**sent["data"], **passed}}) for _ in "ab"),
                *(world.browser(tenant.host).log_in(tenant) for _ in range(3)),
            )
        wrong = [(answer.request.url.path, answer.status_code) for answer in answers if answer.status_code >= 500]
        assert wrong == []
