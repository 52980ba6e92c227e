"""Users as they come to be: invited by mail, then with a browser of their own."""

from __future__ import annotations

import re
import secrets
from typing import Any

from elink_operator.database.model import TenantDb

from tests.tenant_app.support import PASSWORD, Browser, World


async def one(world: World, tenant: TenantDb, sql: str, *values: object) -> Any:
    """One value out of the tenant's database."""
    async with world.server.inside(tenant.database) as inside:
        return await inside.fetchval(sql, *values)


async def run(world: World, tenant: TenantDb, sql: str, *values: object) -> None:
    """Change the tenant's database behind the application's back."""
    async with world.server.inside(tenant.database) as inside:
        await inside.execute(sql, *values)


async def actions(world: World, tenant: TenantDb) -> list[str]:
    """The actions of the audit log in their order."""
    async with world.server.inside(tenant.database) as inside:
        return [row[0] for row in await inside.fetch("SELECT action FROM audit_entry ORDER BY number")]


async def link_for(world: World, tenant: TenantDb, email: str) -> str:
    """The token of the newest link that was mailed to this address."""
    text = await one(
        world, tenant, "SELECT text_body FROM outbox_mail WHERE recipient = $1 ORDER BY id DESC LIMIT 1", email
    )
    found = re.search(rf"https://{re.escape(tenant.host)}(?::\d+)?/welcome\?token=([\w-]{{43}})\s", text or "")
    assert found, text
    return found[1]


async def make_role(master: Browser, *permissions: str, name: str = "") -> int:
    """A role with these permissions."""
    answer = await master.api(
        "POST", "/api/v1/roles", json={"name": name or secrets.token_hex(8), "permissions": list(permissions)}
    )
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


async def invite(master: Browser, email: str, *roles: int) -> int:
    """Register a user; returns the id."""
    answer = await master.api("POST", "/api/v1/users", json={"email": email, "roles": list(roles)})
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


async def accept(world: World, tenant: TenantDb, token: str, password: str = PASSWORD) -> tuple[Browser, int]:
    """Follow a link in a browser of its own; the browser and the status of the answer."""
    browser = world.browser(tenant.host)
    answer = await browser.post(
        "/welcome", {"token": token, "password": password, "password_repeated": password}, page="/login"
    )
    return browser, answer.status_code


async def member(world: World, tenant: TenantDb, master: Browser, *permissions: str) -> tuple[Browser, int, str]:
    """A user with one role of these permissions, logged in: browser, id, e-mail."""
    email = f"{secrets.token_hex(6)}@user.example"
    roles = [await make_role(master, *permissions)] if permissions else []
    user_id = await invite(master, email, *roles)
    browser, status = await accept(world, tenant, await link_for(world, tenant, email))
    assert status == 303
    return browser, user_id, email
