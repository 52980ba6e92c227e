"""One tenant against another: by host, cookie, id, token and path; and hosts that are nobody's."""

from __future__ import annotations

import secrets
import statistics
import time

import pytest
from sqlalchemy import text

from tests.tenant_app.support import ORIGIN_HEADERS, World

pytestmark = pytest.mark.postgres

UNKNOWN = [
    "nobody.elink.localhost", "elink.localhost", "localhost", "127.0.0.1", "127.0.0.1:8000", "[::1]", "[::1]:8000",
    "10.42.0.7", "0x7f.1", "2130706433", "", "x" * 300, "日本.example".encode(), "a b", "a/b", "a@b", "..", "-a.b",
    "%2e", "a,b", "evil.example\t",
]  # fmt: skip


async def test_hosts_of_nobody_all_get_the_same(world: World) -> None:
    tenant = await world.tenant()
    browser = world.browser(tenant.host)
    answers = set()
    for host in UNKNOWN:
        for method, path in (("GET", "/"), ("GET", "/login"), ("POST", "/login"), ("GET", "/static/app.css"),
                             ("GET", "/api/v1/addresses"), ("GET", "/openapi.json"), ("GET", "/healthz")):  # fmt: skip
            answer = await browser.client.request(method, path, headers={"Host": host})
            headers = {name: value for name, value in answer.headers.items() if name != "x-request-id"}
            answers.add((answer.status_code, answer.content, tuple(sorted(headers.items()))))
    assert len(answers) == 1
    ((status, body, _),) = answers
    assert status == 404
    assert b"elink" not in body


async def test_unknown_hosts_take_the_same_time(world: World) -> None:
    """A name that is almost a tenant's costs what any other costs."""
    tenant = await world.tenant()
    browser = world.browser(tenant.host)

    async def cost(host: str) -> float:
        started = time.process_time()
        await browser.client.get("/login", headers={"Host": host})
        return time.process_time() - started

    near, far = tenant.host + "x", "x" * len(tenant.host) + ".example"
    costs = [(await cost(near), await cost(far)) for _ in range(200)]
    # Processor time, which other work on the machine does not lengthen; in turn, and the middle of many.
    assert 0.7 < statistics.median(a for a, _ in costs) / statistics.median(b for _, b in costs) < 1.4


async def test_a_host_is_matched_exactly(world: World) -> None:
    tenant = await world.tenant()
    browser = world.browser(tenant.host)
    for host in (tenant.host, tenant.host.upper(), tenant.host + ".", tenant.host + ":8443", tenant.host + ".:443"):
        assert (host, (await browser.client.get("/login", headers={"Host": host})).status_code) == (host, 200)
    for host in ("x" + tenant.host, tenant.host[1:], tenant.host + "..", "a." + tenant.host, tenant.host + ":x"):
        assert (host, (await browser.client.get("/login", headers={"Host": host})).status_code) == (host, 404)


async def test_two_host_headers_are_nobodys(world: World) -> None:
    mine, other = await world.tenant(), await world.tenant()
    browser = world.browser(mine.host)
    headers = [("Host", mine.host), ("Host", other.host)]
    assert (await browser.client.get("/login", headers=headers)).status_code == 404
    for name in ("X-Forwarded-Host", "Forwarded", "X-Original-Host", "X-Host"):
        value = f"host={other.host}" if name == "Forwarded" else other.host
        page = await browser.client.get("/setup?token=x", headers={name: value})
        assert page.status_code == 404
        assert other.display_name in page.text
    absolute = await browser.client.get(f"https://{mine.host}/login", headers={"Host": mine.host})
    assert absolute.status_code == 200


async def test_a_session_is_worth_nothing_at_another_tenant(world: World) -> None:
    mine, other = await world.tenant(display_name="甲"), await world.tenant(display_name="乙")
    me, they = await world.master(mine), await world.master(other)
    thief = world.browser(other.host)
    thief.client.cookies.set("__Host-elink-session", me.cookie() or "", domain=other.host)
    for path in ("/", "/addresses", "/account", "/addresses/1"):
        assert (await thief.get(path)).status_code == 303
    assert (await thief.get("/api/v1/addresses")).status_code == 401
    # My session with their host in the Host header, sent to the same process.
    answer = await me.client.get("/api/v1/session", headers={"Host": other.host})
    assert answer.status_code == 401
    token = (await me.get("/api/v1/session")).json()["csrf_token"]
    answer = await me.client.post(
        "/api/v1/addresses", json={"name": "x"}, headers={**ORIGIN_HEADERS, "Host": other.host, "X-CSRF-Token": token}
    )
    assert answer.status_code == 401
    assert (await they.get("/api/v1/addresses")).json()["total"] == 0


async def test_ids_of_another_tenant_lead_to_nothing(world: World) -> None:
    mine, other = await world.tenant(), await world.tenant()
    me, they = await world.master(mine), await world.master(other)
    secret = "秘密 " + secrets.token_hex(4)
    for _ in range(3):
        made = (await they.api("POST", "/api/v1/addresses", json={"name": secret, "tags": ["極秘"]})).json()
    token = (await me.get("/api/v1/session")).json()["csrf_token"]
    for path in (f"/addresses/{made['id']}", f"/addresses/{made['id']}/edit", f"/api/v1/addresses/{made['id']}"):
        assert (await me.get(path)).status_code == 404
    for method, path in (("PUT", ""), ("DELETE", ""), ("POST", "/restore")):
        body = {"json": {"name": "stolen"}} if method == "PUT" else {}
        answer = await me.api(method, f"/api/v1/addresses/{made['id']}{path}", token=token, **body)
        assert answer.status_code == 404
    cursor = (await they.get("/api/v1/addresses?size=1")).json()["next"]
    for path in (
        "/addresses",
        "/addresses?tag=極秘",
        f"/addresses?q={secret}",
        f"/api/v1/addresses?cursor={cursor}",
        "/",
    ):
        answer = await me.get(path)
        assert answer.status_code == 200
        # The query itself is shown again in the search box.
        assert secret not in answer.text.replace(f'value="{secret}"', "")
    assert (await they.get(f"/api/v1/addresses/{made['id']}")).json()["name"] == secret


async def test_the_app_cannot_reach_anothers_database_through_its_own_connection(world: World) -> None:
    """What an SQL injection could do at worst: the connection acts as the tenant's role, whatever is reset."""

    mine, other = await world.tenant(), await world.tenant()
    known = world.parts.directory.get(mine.name)
    assert known is not None
    async with world.parts.databases.transaction(known) as db:
        for statement in ("SELECT 1", "RESET ROLE", "RESET ALL"):
            await db.execute(text(statement))
            assert (await db.execute(text("SELECT current_user::text"))).scalar_one() == mine.role
        rows = await db.execute(text("SELECT has_database_privilege(:other, 'CONNECT')"), {"other": other.database})
        assert rows.scalar_one() is False


async def test_state_pages(world: World) -> None:
    reason = "お支払いの確認 <script>alert(1)</script>"
    tenant = await world.tenant(state="Suspended", state_reason=reason)
    browser = world.browser(tenant.host)
    for path in ("/", "/login", "/addresses/1", "/nowhere"):
        page = await browser.get(path)
        assert page.status_code == 503
        assert page.headers["retry-after"] == "3600"
        assert "ご利用を停止しています" in page.text
        assert "お支払いの確認 &lt;script&gt;" in page.text
    english = await browser.client.get("/", headers={"Cookie": "__Host-elink-language=en"})
    assert "This service is suspended" in english.text
    problem = await browser.get("/api/v1/addresses")
    assert problem.status_code == 503
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.json()["type"].endswith("/tenant-suspended")
    assert problem.json()["reason"] == reason
    assert (await browser.client.post("/setup", data={"token": "x"}, headers=ORIGIN_HEADERS)).status_code == 503
    cancelled = await world.change(tenant, state="Cancelled")
    assert (await browser.get("/")).status_code == 410
    assert (await browser.get("/api/v1/session")).json()["type"].endswith("/tenant-cancelled")
    await world.change(cancelled, state="Active")
    assert (await browser.get("/login")).status_code == 200


async def test_maintenance_closes_everything_and_ends_without_a_new_log_in(world: World) -> None:
    tenant = await world.tenant()
    browser = await world.master(tenant)
    assert (await browser.get("/api/v1/session")).status_code == 200
    closed = await world.change(tenant, state="Maintenance", state_reason="er/restore-1 on node 7")
    for path in ("/", "/login", "/addresses", "/nowhere"):
        page = await browser.get(path)
        assert page.status_code == 503
        assert page.headers["retry-after"] == "300"
        assert "データを復元しています" in page.text
        assert "restore-1" not in page.text
    english = await browser.client.get("/", headers={"Cookie": "__Host-elink-language=en"})
    assert "Your data is being restored" in english.text
    problem = await browser.get("/api/v1/addresses")
    assert (problem.status_code, problem.headers["retry-after"]) == (503, "300")
    assert problem.json()["type"].endswith("/tenant-maintenance")
    assert problem.json()["reason"] == ""
    await world.change(closed, state="Active", state_reason="")
    assert (await browser.get("/api/v1/session")).status_code == 200, "the log-in is kept"


async def test_a_closed_tenant_keeps_its_language_switch_and_style(world: World) -> None:
    tenant = await world.tenant(state="Suspended")
    browser = world.browser(tenant.host)
    page = (await browser.get("/")).text
    style = page.split('rel="stylesheet" href="')[1].split('"')[0]
    assert (await browser.get(style)).status_code == 200
    answer = await browser.post("/language", {"language": "en", "next": "/"}, page="/")
    assert answer.status_code == 303
    assert "This service is suspended" in (await browser.get("/")).text
