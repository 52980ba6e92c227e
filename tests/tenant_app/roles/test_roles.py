"""Roles grant at once, in one query, and never more than the giver has."""

from __future__ import annotations

import pytest
from elink_app.accounts.permissions import MASTER_ONLY, Permission
from sqlalchemy import event
from sqlalchemy.engine import Engine

from tests.tenant_app.people.support import actions, make_role, member, one, run
from tests.tenant_app.support import World

pytestmark = pytest.mark.postgres


async def test_a_change_counts_at_the_next_request(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    browser, user_id, _ = await member(world, tenant, master, "addresses:view")
    role_id = (await master.get(f"/api/v1/users/{user_id}")).json()["roles"][0]
    assert (await browser.get("/api/v1/addresses")).status_code == 200
    name = {"name": "空の役割"}
    assert (await master.api("PUT", f"/api/v1/roles/{role_id}", json={**name, "permissions": []})).status_code == 200
    assert (await browser.get("/api/v1/addresses")).status_code == 403
    await master.api("PUT", f"/api/v1/roles/{role_id}", json={**name, "permissions": ["addresses:view", "audit:view"]})
    assert (await browser.get("/api/v1/audit")).status_code == 200
    second = await make_role(master, "addresses:edit")
    await master.api("PUT", f"/api/v1/users/{user_id}", json={"roles": [role_id, second]})
    assert (await browser.get("/api/v1/session")).json()["permissions"] == [
        "addresses:edit", "addresses:view", "audit:view",
    ]  # fmt: skip
    assert (await master.api("DELETE", f"/api/v1/roles/{role_id}")).status_code == 409
    await master.api("PUT", f"/api/v1/users/{user_id}", json={"roles": [second]})
    assert (await master.api("DELETE", f"/api/v1/roles/{role_id}")).status_code == 204
    # Without seeing, changing does not count.
    assert (await browser.get("/api/v1/session")).json()["permissions"] == []
    assert [action for action in await actions(world, tenant) if action.startswith("role.")] == [
        "role.create", "role.update", "role.update", "role.create", "role.delete",
    ]  # fmt: skip


async def test_one_query_tells_who_asks(world: World) -> None:
    tenant = await world.tenant()
    browser, _, _ = await member(world, tenant, await world.master(tenant), "addresses:view")
    said: list[str] = []

    def note(_connection: object, _cursor: object, sql: str, *_rest: object) -> None:
        said.append(sql)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        assert (await browser.get("/api/v1/session")).status_code == 200
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert len(said) == 1, said


async def test_only_the_master_grants_what_reaches_everything(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    manager, _, _ = await member(world, tenant, master, *Permission)
    for permission in Permission:
        body = {"name": f"役割 {permission}", "permissions": [permission]}
        answer = await manager.api("POST", "/api/v1/roles", json=body)
        assert answer.status_code == (403 if permission in MASTER_ONLY else 201), permission
        form = {"name": f"form {permission}", "permissions": [permission]}
        assert (await manager.post("/roles", form)).status_code == (403 if permission in MASTER_ONLY else 303)
    mighty = await make_role(master, "utilities:run", "addresses:view")
    plain = {"name": "x", "permissions": ["addresses:view"]}
    # Neither changed nor removed by somebody who could not have made it.
    assert (await manager.api("PUT", f"/api/v1/roles/{mighty}", json=plain)).status_code == 403
    assert (await manager.api("DELETE", f"/api/v1/roles/{mighty}")).status_code == 403
    assert (await manager.get(f"/roles/{mighty}")).status_code == 403
    assert (await master.api("DELETE", f"/api/v1/roles/{mighty}")).status_code == 204


async def test_a_manager_grants_no_more_than_he_has(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    manager, _, _ = await member(world, tenant, master, "users:manage", "addresses:view")
    for permission, status in (("addresses:view", 201), ("addresses:edit", 403)):
        body = {"name": f"x {permission}", "permissions": [permission]}
        assert (await manager.api("POST", "/api/v1/roles", json=body)).status_code == status
    role_id = await one(world, tenant, "SELECT id FROM role WHERE name = 'x addresses:view'")
    body = {"name": "more", "permissions": ["addresses:view", "addresses:export"]}
    assert (await manager.api("PUT", f"/api/v1/roles/{role_id}", json=body)).status_code == 403


async def test_refused_input(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    await make_role(master, name="営業")
    for body in (
        {"name": "営業"}, {"name": ""}, {"name": "x" * 51}, {"name": "x\ny"}, {"name": "x", "permissions": ["root"]},
        {"name": "x", "accounts": 3}, {"name": "x", "permissions": "addresses:view"},
    ):  # fmt: skip
        assert (await master.api("POST", "/api/v1/roles", json=body)).status_code == 422, body
    assert (await master.api("PUT", "/api/v1/roles/999", json={"name": "x"})).status_code == 404
    assert (await master.api("DELETE", "/api/v1/roles/999")).status_code == 404
    assert (await master.get("/roles/999")).status_code == 404


async def test_a_permission_of_another_release_counts_for_nothing(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    browser, _, _ = await member(world, tenant, master, "addresses:view")
    await run(world, tenant, "UPDATE role SET permissions = '{addresses:view,moon:fly}'")
    assert (await browser.get("/api/v1/session")).json()["permissions"] == ["addresses:view"]
    assert (await master.get("/roles")).status_code == 200
    # The master may mend such a role, or remove it.
    role_id = await one(world, tenant, "SELECT id FROM role")
    plain = {"name": "x", "permissions": ["addresses:view"]}
    assert (await master.api("PUT", f"/api/v1/roles/{role_id}", json=plain)).status_code == 200
    await run(world, tenant, "UPDATE role SET permissions = '{moon:fly}'; DELETE FROM account_role")
    assert (await master.api("DELETE", f"/api/v1/roles/{role_id}")).status_code == 204
