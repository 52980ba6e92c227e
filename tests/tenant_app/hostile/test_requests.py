"""Input meant to do harm: scripts, headers, paths, floods. No answer may be a 5xx, and nothing may come back raw."""

from __future__ import annotations

import re
from typing import TypeVar

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tenant_app.support import ORIGIN_HEADERS, Browser, World

pytestmark = pytest.mark.postgres

SCRIPT = "\"'><script>alert(1)</script>{{97*97}}${97*97}<img src=x onerror=alert(1)>"


async def test_scripts_in_every_field_stay_text(world: World) -> None:
    tenant = await world.tenant(display_name=f"会社 {SCRIPT}")
    me = await world.master(tenant)
    body = {
        "name": SCRIPT[:100],
        "company": SCRIPT[:100],
        "postal_address": SCRIPT,
        "notes": SCRIPT,
        "tags": [SCRIPT[:50]],
    }
    made = await me.api("POST", "/api/v1/addresses", json=body)
    assert made.status_code == 201, made.text
    number = made.json()["id"]
    await me.api("POST", "/api/v1/addresses", json={**body, "name": "消す " + SCRIPT[:90]})
    await me.api("DELETE", f"/api/v1/addresses/{number + 1}")
    paths = ["/", "/addresses", f"/addresses/{number}", f"/addresses/{number}/edit", "/addresses/deleted", "/account",
             f"/addresses?deleted={number + 1}"]  # fmt: skip
    for path in paths:
        page = (await me.get(path)).text
        assert SCRIPT[:40] not in page, path
        assert "<script" not in page, path
        assert "onerror=alert(1)>" not in page.replace("onerror=alert(1)&gt;", ""), path
        assert re.findall(rf"\b{97 * 97}\b", page) == [], path
    for name in ("q", "tag", "order", "cursor", "notice", "next", "token"):
        for path in ("/addresses", "/login", "/setup", "/"):
            page = await me.client.get(path, params={name: SCRIPT})
            assert "<script" not in page.text
    logged_out = world.browser(tenant.host)
    for data in ({"email": SCRIPT, "password": SCRIPT}, {"email": "x", "password": "x", "next": SCRIPT}):
        assert "<script" not in (await logged_out.post("/login", data)).text
    assert "<script" not in (await logged_out.get(f"/{SCRIPT}")).text


async def test_security_headers_on_every_kind_of_answer(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    style = (await me.get("/")).text.split('rel="stylesheet" href="')[1].split('"')[0]
    answers = [
        await me.get("/"), await me.get("/nowhere"), await me.get("/api/v1/addresses"), await me.get("/openapi.json"),
        await me.get(style), await world.browser(tenant.host).get("/"), await me.client.post("/logout"),
        await me.client.get("/", headers={"Host": "nobody.example"}), await me.client.request("BREW", "/"),
        await me.client.post("/login", content=b"x" * 2_000_000, headers=ORIGIN_HEADERS),
    ]  # fmt: skip
    for answer in answers:
        csp = answer.headers["content-security-policy"]
        assert "unsafe" not in csp
        assert "default-src 'none'" in csp
        assert "frame-ancestors 'none'" in csp
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["strict-transport-security"].startswith("max-age=31536000")
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "server" not in answer.headers
        assert ("immutable" if answer.request.url.path == style else "no-store") in answer.headers["cache-control"]
    page = (await me.get("/")).text
    assert not re.search(r"<[^>]+\s(style|on[a-z]+)=", page)
    assert "<style" not in page


@pytest.mark.parametrize(
    "path",
    [
        "/static/../settings.py", "/static/%2e%2e/settings.py", "/static/..%2fsettings.py", "/static/app.css",
        "/static/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/static//etc/passwd", "/static/", "/static", "/static/__init__.py",
        "/static/app.css%00", "/%2e%2e/etc/passwd", "/web/templates/base.html", "/locale/ja/app.po", "/.env", "/docs",
        "/redoc", "/metrics", "/healthz", "/readyz",
    ],
)  # fmt: skip
async def test_paths_lead_to_no_file(world: World, path: str) -> None:
    tenant = await world.tenant()
    transport = world.browser(tenant.host).client
    request = httpx.Request("GET", f"https://{tenant.host}/")
    request.url = request.url.copy_with(raw_path=path.encode())
    answer = await transport.send(request)
    assert answer.status_code in (404, 405)
    assert "root:" not in answer.text
    assert "class Settings" not in answer.text


async def test_bodies_that_are_too_large(world: World) -> None:
    me = await world.master(await world.tenant())
    token = (await me.get("/api/v1/session")).json()["csrf_token"]
    headers = {**ORIGIN_HEADERS, "X-CSRF-Token": token}

    async def endless() -> object:
        for _ in range(64):
            yield b"x" * 65_536

    declared = await me.client.post("/api/v1/addresses", content=b"x" * 1_100_000, headers=headers)
    assert declared.status_code == 413
    for path, kind in (("/api/v1/addresses", "application/json"), ("/addresses", "application/x-www-form-urlencoded")):
        streamed = await me.client.post(path, content=endless(), headers={**headers, "Content-Type": kind})
        assert streamed.status_code == 413, path
    many = "&".join(f"f{n}=1" for n in range(5000))
    flood = await me.client.post(
        "/addresses", content=many, headers={**headers, "Content-Type": "application/x-www-form-urlencoded"}
    )
    assert flood.status_code in (400, 413)
    assert (await me.get("/addresses?q=" + "x" * 9000)).status_code == 414
    assert (await me.client.get("/", headers={"X-Long": "x" * 40_000})).status_code == 431
    assert (await me.client.post("/login", headers={**ORIGIN_HEADERS, "Content-Length": "-1"})).status_code in (
        400,
        413,
    )
    assert (await me.get("/")).status_code == 200


async def test_header_values_cannot_be_planted(world: World) -> None:
    me = await world.master(await world.tenant())
    planted = "x\r\nSet-Cookie: evil=1"
    for path in (f"/login?next={httpx.QueryParams({'a': planted})}", "/addresses?deleted=1%0d%0aX: y"):
        answer = await me.get(path)
        assert "evil" not in str(answer.headers)
    answer = await me.client.get("/", headers={"X-Request-Id": "a b;c"})
    assert answer.headers["x-request-id"] != "a b;c"
    answer = await me.client.get("/", headers={"X-Request-Id": "0123abcd-known"})
    assert answer.headers["x-request-id"] == "0123abcd-known"


TEXT = st.text(st.characters(codec="utf-8"), max_size=60)
NASTY = st.sampled_from(
    ["\x00", "%00", "%ff", "\ud800", "🦊", "'", '"', "\\", "%", "../", "{{x}}", "\r\n", "ﾊﾟ", "𠮷", "\u202e"]
)
PIECE = st.one_of(TEXT, NASTY, st.integers().map(str))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
FIELDS = ("name", "kana", "company", "emails", "phone", "postal_code", "postal_address", "notes", "tags", "version")
ADDRESS = st.fixed_dictionaries(
    {}, optional={field: st.one_of(PIECE, st.lists(PIECE, max_size=4), JSON) for field in FIELDS}
)
FUZZ = settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
T = TypeVar("T")


def examples(strategy: st.SearchStrategy[T]) -> list[T]:
    """Values that hypothesis makes up; the requests with them are sent from the test's own event loop."""
    found: list[T] = []

    @FUZZ
    @given(strategy)
    def collect(value: T) -> None:
        found.append(value)

    collect()
    return found


class Shared:
    """One logged-in browser for all examples of one test."""

    def __init__(self, me: Browser, token: str) -> None:
        self.me = me
        self.token = token
        self.seen: set[int] = set()

    def note(self, answer: httpx.Response) -> None:
        assert answer.status_code < 500, (answer.request.method, answer.request.url, answer.text[:300])
        self.seen.add(answer.status_code)


async def shared(world: World) -> Shared:
    me = await world.master(await world.tenant(limits={"addresses": 100_000}))
    return Shared(me, (await me.get("/api/v1/session")).json()["csrf_token"])


def _utf8(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return [_utf8(part) for part in value] if isinstance(value, list) else str(value)


async def test_fuzzed_forms_never_fail(world: World) -> None:
    ours = await shared(world)
    for body in examples(ADDRESS):
        data = {name: _utf8(value) for name, value in body.items()} | {"csrf_token": ours.token}
        for path in ("/addresses", "/addresses/1", "/account/password", "/setup", "/login", "/language"):
            ours.note(await ours.me.client.post(path, data=data, headers=ORIGIN_HEADERS))
        if (await ours.me.get("/")).status_code == 303:
            pytest.fail("a form ended the session")
    assert {422} <= ours.seen


async def test_fuzzed_json_never_fails(world: World) -> None:
    ours = await shared(world)
    for body in examples(st.one_of(ADDRESS, JSON)):
        try:
            content = httpx.Request("POST", "https://x/", json=body).content
        except UnicodeEncodeError:
            continue
        for method, path in (("POST", ""), ("PUT", "/1")):
            headers = {**ORIGIN_HEADERS, "X-CSRF-Token": ours.token, "Content-Type": "application/json"}
            ours.note(
                await ours.me.client.request(method, f"/api/v1/addresses{path}", content=content, headers=headers)
            )
    assert {422} <= ours.seen


async def test_fuzzed_queries_never_fail(world: World) -> None:
    ours = await shared(world)
    names = ("q", "tag", "order", "cursor", "size", "deleted", "notice", "next", "token")
    for query in examples(st.dictionaries(st.sampled_from(names), PIECE, max_size=5)):
        params = {name: str(_utf8(value)) for name, value in query.items()}
        for path in ("/", "/login", "/setup", "/account", "/addresses", "/addresses/deleted", "/api/v1/addresses"):
            ours.note(await ours.me.client.get(path, params=params))
    for raw in ("%", "%zz", "%ff%fe", "q=%00", "&&&", "=", "q=%ed%a0%80", "%00=1", "order=kana&order=x"):
        for path in ("/addresses", "/api/v1/addresses", "/login", "/setup"):
            ours.note(await ours.me.client.get(f"{path}?{raw}"))


async def test_fuzzed_cookies_and_headers_never_fail(world: World) -> None:
    ours = await shared(world)
    tenant_browser = world.browser(ours.me.host)
    for value in ("", "x", "=", ";;;", '"', "A" * 43, "A" * 5000, "\x7f", "é", "a=b; a=c", "%00"):
        for name in (
            "Cookie",
            "Accept-Language",
            "User-Agent",
            "Content-Type",
            "X-CSRF-Token",
            "Origin",
            "X-Request-Id",
        ):
            text = f"__Host-elink-session={value}; __Host-elink-language={value}" if name == "Cookie" else value
            headers = {name: text.encode("utf-8")}
            for method, path in (("GET", "/"), ("GET", "/login"), ("POST", "/login"), ("POST", "/api/v1/addresses")):
                answer = await tenant_browser.client.request(method, path, headers=headers)
                ours.note(answer)
