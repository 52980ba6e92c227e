"""Requests that other sites make a browser send."""

from __future__ import annotations

import re

import pytest
from elink_app.web.app import ROUTERS
from elink_app.web.csrf import SAFE_METHODS, csrf_token
from elink_app.web.middleware.origin import is_same_origin
from fastapi.routing import APIRoute
from starlette.datastructures import Headers

from tests.tenant_app.support import ORIGIN_HEADERS, World


@pytest.mark.parametrize(
    ("headers", "same"),
    [
        ({}, False),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "same-origin", "origin": "null"}, True),
        ({"sec-fetch-site": "same-site", "origin": "https://a.example"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"origin": "https://a.example"}, True),
        ({"origin": "https://A.example"}, True),
        ({"origin": "https://a.example:8443", "host": "a.example:8443"}, True),
        ({"origin": "https://a.example:8443"}, False),
        ({"origin": "https://b.example"}, False),
        ({"origin": "https://a.example.evil.example"}, False),
        ({"origin": "https://evil.example/a.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({"origin": "https://["}, False),
        ({"referer": "https://a.example/"}, False),
    ],
)
def test_same_origin(headers: dict[str, str], same: bool) -> None:
    assert is_same_origin(Headers({"host": "a.example", **headers})) is same


def unsafe_routes() -> list[tuple[str, str]]:
    """(method, path with ids filled in) of every route that may change something."""
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    return [
        (method, re.sub(r"{[^}]*}", "1", route.path))
        for route in routes
        for method in sorted(route.methods - SAFE_METHODS)
    ]


@pytest.mark.postgres
async def test_every_unsafe_route_stands_behind_the_guard(world: World) -> None:
    me = await world.master(await world.tenant())
    await me.api("POST", "/api/v1/addresses", json={"name": "残る人"})
    assert len(unsafe_routes()) >= 14
    for method, path in unsafe_routes():
        body = {"json": {"name": "x"}} if path.startswith("/api/") else {"data": {"name": "x"}}
        answer = await me.client.request(method, path, headers=ORIGIN_HEADERS, **body)
        assert (method, path, answer.status_code) == (method, path, 403)
    assert (await me.get("/api/v1/addresses")).json()["total"] == 1


@pytest.mark.postgres
async def test_forms_without_or_with_a_wrong_token_do_nothing(world: World) -> None:
    tenant = await world.tenant()
    me, other = await world.master(tenant), await world.master(await world.tenant())
    made = (await me.api("POST", "/api/v1/addresses", json={"name": "残る人"})).json()
    stranger = await other.token("/account")
    before_log_in = await world.browser(tenant.host).token()
    paths = [f"/addresses/{made['id']}/delete", f"/addresses/{made['id']}", "/addresses", "/logout",
             "/account/sessions/revoke-others", "/account/password", "/language", "/login", "/setup",
             f"/addresses/{made['id']}/restore"]  # fmt: skip
    for token in (None, "", "x", stranger, before_log_in, csrf_token("A" * 43)):
        for path in paths:
            data = {"name": "x"} if token is None else {"name": "x", "csrf_token": token}
            answer = await me.client.post(path, data=data, headers=ORIGIN_HEADERS)
            assert (path, answer.status_code) == (path, 403)
    assert [row["name"] for row in (await me.get("/api/v1/addresses")).json()["items"]] == ["残る人"]
    assert (await me.get("/")).status_code == 200


@pytest.mark.postgres
async def test_other_sites_are_refused_even_with_the_token(world: World) -> None:
    me = await world.master(await world.tenant())
    token = await me.token("/account")
    for headers in ({}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        answer = await me.client.post("/logout", data={"csrf_token": token}, headers=headers)
        assert answer.status_code == 403
    assert (await me.get("/")).status_code == 200


@pytest.mark.postgres
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_the_api_wants_the_header(world: World, method: str) -> None:
    me = await world.master(await world.tenant())
    made = (await me.api("POST", "/api/v1/addresses", json={"name": "残る人"})).json()
    for headers in (
        ORIGIN_HEADERS,
        {**ORIGIN_HEADERS, "X-CSRF-Token": "x"},
        {"X-CSRF-Token": await me.token("/account")},
    ):
        path = "/api/v1/addresses" if method == "POST" else f"/api/v1/addresses/{made['id']}"
        answer = await me.client.request(method, path, json={"name": "x"}, headers=headers)
        if method == "PATCH" and answer.status_code == 405:
            continue
        assert answer.status_code == 403
        assert answer.json()["type"].endswith("/csrf-refused")
    # A form that pretends to be JSON, as HTML forms with text/plain can.
    answer = await me.client.post(
        "/api/v1/addresses", content='{"name": "x"}', headers={**ORIGIN_HEADERS, "Content-Type": "text/plain"}
    )
    assert answer.status_code == 403
    assert (await me.get("/api/v1/addresses")).json()["total"] == 1


@pytest.mark.postgres
async def test_forms_of_another_kind_are_refused(world: World) -> None:
    me = await world.master(await world.tenant())
    token = await me.token("/account")
    answer = await me.client.post("/logout", files={"csrf_token": (None, token)}, headers=ORIGIN_HEADERS)
    assert answer.status_code == 415
