"""The page of tags and labels: counts of what may be seen, and changes only by who may make them."""

from __future__ import annotations

import re

import pytest

from tests.tenant_app.people.support import make_role, member
from tests.tenant_app.support import Browser, World

pytestmark = pytest.mark.postgres


async def tags(me: Browser) -> dict[str, dict[str, object]]:
    return {one["name"]: one for one in (await me.get("/api/v1/tags")).json()}


def shown(page: str) -> dict[str, str]:
    """The number of addresses by tag, as the page says it."""
    parts = re.findall(r'<h2 id="tag-\d+">([^<]+?)(?: <span.*?)?</h2>\s*<p>([\d,]+)', page)
    return dict(parts)


async def test_tags_are_counted_made_renamed_and_taken_away(world: World) -> None:
    me = await world.master(await world.tenant())
    for number, borne in enumerate((["甲"], ["甲", "乙"], [])):
        answer = await me.api("POST", "/api/v1/addresses", json={"name": f"人{number}", "tags": borne})
        assert answer.status_code == 201
    await me.api("DELETE", f"/api/v1/addresses/{answer.json()['id']}")
    assert shown((await me.get("/tags")).text) == {"甲": "2", "乙": "1"}
    assert (await me.post("/tags", {"name": "丙"})).status_code == 303
    for wrong in ("", "甲", "a,b", "a\0b", "x" * 51):
        refused = await me.post("/tags", {"name": wrong})
        assert refused.status_code == 422, wrong
    number = (await tags(me))["甲"]["id"]
    assert (await me.post(f"/tags/{number}", {"name": "乙"})).status_code == 422
    assert (await me.post(f"/tags/{number}", {"name": "<b>"})).status_code == 303
    page = (await me.get("/tags")).text
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert (await me.post(f"/tags/{number}/delete")).status_code == 303
    assert set(await tags(me)) == {"乙", "丙"}
    assert (await me.post(f"/tags/{number}/delete")).status_code == 404
    assert (await me.get("/api/v1/addresses")).json()["total"] == 2


async def test_labels_are_set_by_the_master_and_hide_counts(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    for borne in (["社外秘", "甲"], ["甲"]):
        await me.api("POST", "/api/v1/addresses", json={"name": "人", "tags": borne})
    role = await make_role(me, "addresses:view")
    number = (await tags(me))["社外秘"]["id"]
    clerk, _, _ = await member(world, tenant, me, "addresses:view", "addresses:edit")
    viewer, _, _ = await member(world, tenant, me, "addresses:view")
    outside, _, _ = await member(world, tenant, me, "templates:edit")
    assert (await clerk.post(f"/tags/{number}/label", {"is_label": "yes"})).status_code == 403
    for unknown in ({"see": str(role + 99)}, {"see": str(role), "send": str(role + 99)}):
        assert (await me.post(f"/tags/{number}/label", {"is_label": "yes", **unknown})).status_code == 422
    refused = await me.api("PUT", f"/api/v1/tags/{number}/label", json={"is_label": True, "export": [role + 99]})
    assert [wrong["pointer"] for wrong in refused.json()["errors"]] == ["/export"]
    assert (await tags(me))["社外秘"]["is_label"] is False
    set_ = await me.post(f"/tags/{number}/label", {"is_label": "yes", "see": str(role), "export": "x"})
    assert set_.status_code == 303
    assert (await tags(me))["社外秘"]["rights"] == {"see": [role], "export": [], "send": []}
    assert "社外秘" in (await me.get("/tags")).text
    page = (await clerk.get("/tags")).text
    assert shown(page) == {"甲": "1"}
    assert "社外秘" not in page
    assert '/label"' not in page
    assert (await clerk.post(f"/tags/{number}", {"name": "別"})).status_code == 404
    assert (await clerk.post(f"/tags/{number}/delete")).status_code == 404
    seen = await viewer.get("/tags")
    assert (seen.status_code, 'action="/tags' in seen.text) == (200, False)
    assert (await viewer.post("/tags", {"name": "新"})).status_code == 403
    assert (await outside.get("/tags")).status_code == 403
    assert (await me.post(f"/tags/{number}/label", {})).status_code == 303
    assert (await tags(me))["社外秘"]["is_label"] is False


async def test_a_form_with_a_hundred_roles_is_taken(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    number = (await me.api("POST", "/api/v1/tags", json={"name": "社外秘"})).json()["id"]
    async with world.server.inside(tenant.database) as db:
        rows = await db.fetch(
            "INSERT INTO role (name, permissions) SELECT 'r' || n, ARRAY['addresses:view'] "
            "FROM generate_series(1, 100) AS n RETURNING id"
        )
    roles = sorted(row["id"] for row in rows)
    assert (await me.get("/tags")).text.count('name="see"') == len(roles)
    every = {name: [str(one) for one in roles] for name in ("see", "export", "send")}
    set_ = await me.post(f"/tags/{number}/label", {"is_label": "yes", **every})
    assert set_.status_code == 303
    assert (await tags(me))["社外秘"]["rights"] == dict.fromkeys(every, roles)
